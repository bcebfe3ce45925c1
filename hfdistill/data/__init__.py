"""Users' files, few labels among many rows, and augmentation."""
