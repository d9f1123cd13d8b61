"""What a classifier hangs on, where it errs, and what removing a concept from it does."""
