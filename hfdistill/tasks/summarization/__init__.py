"""Summarizers, and other encoder-decoders that write a text of a text."""
