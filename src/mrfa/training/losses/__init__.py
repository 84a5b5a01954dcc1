"""The losses of the training objective, a file a kind: pure functions of what the passes of a step computed."""
