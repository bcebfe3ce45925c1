"""The trainers and what they are made of: arguments, objective, stages, evaluation, checks."""
