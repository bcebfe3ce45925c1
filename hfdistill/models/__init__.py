"""What is known of transformers models."""
