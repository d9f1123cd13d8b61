"""The classifier under study: tuned, opened at one layer, captured."""
