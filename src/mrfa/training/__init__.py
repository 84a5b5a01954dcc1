"""Training: data, augmentation, objective and the Lightning module (paper 3.4)."""
