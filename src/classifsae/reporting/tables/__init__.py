"""The table of methods, of one run or of several."""
