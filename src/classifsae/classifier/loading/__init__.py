"""A model from a folder, a Hub id, an adapter or a soft prompt."""
