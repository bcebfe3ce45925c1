"""Language models and encoders, distilled on raw text without labels."""
