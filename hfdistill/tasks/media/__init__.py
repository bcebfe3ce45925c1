"""Pictures and sound: one label for each picture, or for each recording."""
