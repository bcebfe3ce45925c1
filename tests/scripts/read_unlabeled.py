"""Reads texts: `read_unlabeled.py TASK TRAIN UNLABELED`; prints how many have no label, and the peak of memory."""

import resource
import sys

from hfdistill import question_answering_dataset, text_classification_dataset, token_classification_dataset

READERS = {
    "answering": question_answering_dataset,
    "classification": text_classification_dataset,
    "tagging": token_classification_dataset,
}
task, train, unlabeled = sys.argv[1:]
read = READERS[task]
rows = len(read(train, unlabeled_file=unlabeled).dataset["train"]) - len(read(train).dataset["train"])
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
