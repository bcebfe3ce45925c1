"""Multiple choice, and rerankers: which of a row's choices, or of a query's candidates."""
