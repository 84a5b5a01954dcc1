"""Portraits that follow a camera as it sees a face: what `mrfa live` does."""
