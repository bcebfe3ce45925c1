"""Reads a corpus as a translation task does: `read_corpus.py FILE [FILE]`; prints rows and peak memory.

Of an Arrow file, a dataset that is loaded already.
"""

import resource
import sys

from datasets import Dataset

from hfdistill import translation_dataset

given = sys.argv[1] if len(sys.argv) == 2 else sys.argv[1:]
data = translation_dataset(Dataset.from_file(given) if str(given).endswith(".arrow") else given)
rows = len(data.dataset["train"]) + len(data.dataset["validation"])
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
