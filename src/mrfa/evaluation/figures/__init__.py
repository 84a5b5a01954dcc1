"""The paper's Figures 4 to 7, for any models and clips."""
