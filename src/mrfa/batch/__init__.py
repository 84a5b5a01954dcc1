"""Many jobs from one file, in several processes or on several machines: what `mrfa batch` does."""
