"""What concepts mean: words, sentences, descriptions and names."""
