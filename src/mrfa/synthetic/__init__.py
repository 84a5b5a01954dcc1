"""Synthetic talking heads with known motion."""
