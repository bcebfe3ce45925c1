"""Sentence embeddings: students of a sentence encoder, of its language or another."""
