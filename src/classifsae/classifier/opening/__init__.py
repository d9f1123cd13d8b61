"""The hook layer: what stands in it is read, or replaced."""
