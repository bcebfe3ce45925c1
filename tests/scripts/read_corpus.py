"""Reads a corpus as a translation task does: `read_corpus.py FILE [FILE]`; prints rows and peak memory."""

import resource
import sys

from hfdistill import translation_dataset

data = translation_dataset(sys.argv[1] if len(sys.argv) == 2 else sys.argv[1:])
rows = len(data.dataset["train"]) + len(data.dataset["validation"])
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
