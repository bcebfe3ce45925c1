"""Cleaning pairs of texts: which are no translations of one another, by which rule, and how many."""
