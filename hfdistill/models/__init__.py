"""What is known of `transformers` models: families, intermediate outputs, inputs, labels, inference, loading."""
