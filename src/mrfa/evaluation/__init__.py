"""How good a model is: metrics, baselines, protocols and reports."""
