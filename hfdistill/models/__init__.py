"""What is known of `transformers` models, whatever they are trained for."""
