"""Extractive question answering: where in a context the answer to a question begins and ends."""
