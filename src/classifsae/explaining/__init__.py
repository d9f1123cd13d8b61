"""One new text explained: its label, the concepts that fire, and the effect of each."""
