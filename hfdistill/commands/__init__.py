"""The command `hfdistill`, and what the recipes share at a terminal."""
