"""Reads a corpus of two files as a translation task does: `read_corpus.py FOLDER`; prints rows and peak memory."""

import resource
import sys
from pathlib import Path

from hfdistill import translation_dataset

folder = Path(sys.argv[1])
data = translation_dataset([folder / "corpus.en", folder / "corpus.de"])
rows = len(data.dataset["train"]) + len(data.dataset["validation"])
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
