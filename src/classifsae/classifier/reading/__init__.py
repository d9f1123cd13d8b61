"""From texts to padded batches."""
