"""Devices, files of models, whether the Hub can be reached, and quiet loading, all in plain arguments."""
