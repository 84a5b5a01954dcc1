"""How fast a model is here, and what takes the time: what `mrfa bench` does."""
