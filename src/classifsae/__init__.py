"""ClassifSAE."""
