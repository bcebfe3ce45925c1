"""Training: the trainers and what they share."""
