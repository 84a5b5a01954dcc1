"""Public data sets, and videos of one's own, as the clips that training and evaluation read."""
