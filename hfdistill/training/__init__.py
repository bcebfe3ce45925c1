"""The trainers, and what they are told."""
