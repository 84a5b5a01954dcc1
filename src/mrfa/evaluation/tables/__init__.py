"""The paper's tables: published figures, and figures measured here beside them."""
