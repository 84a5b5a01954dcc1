"""Studies: many variants of a network, trained with one budget and measured alike."""
