"""Language models and entailment models that classify by a prompt: each a classifier, with a tokenizer that prompts."""
