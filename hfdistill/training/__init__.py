"""Training: which values its options may have."""
