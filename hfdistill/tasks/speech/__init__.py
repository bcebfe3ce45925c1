"""Speech recognition: what is said in a recording, letter by letter (CTC) or written by an encoder-decoder."""
