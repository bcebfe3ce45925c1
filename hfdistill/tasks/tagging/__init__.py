"""Token classification: one label for each word, as of named entities (NER) or parts of speech."""
