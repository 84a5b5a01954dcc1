"""The network of the paper's section 3, a file a subsection."""
