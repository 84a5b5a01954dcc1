"""Flow against the truth on synthetic heads."""
