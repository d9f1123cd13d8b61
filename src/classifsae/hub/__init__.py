"""Devices, files of models, quiet loading and one probe of the Hub, all in plain arguments."""
