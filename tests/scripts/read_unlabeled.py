"""Reads a classifier's texts: `read_unlabeled.py TRAIN UNLABELED COUNT`; prints how many are drawn, and peak memory."""

import resource
import sys

from hfdistill.tasks.classification.data import text_classification_dataset

train, unlabeled, count = sys.argv[1:]
rows = text_classification_dataset(train, unlabeled_file=unlabeled, max_unlabeled=int(count)).dataset["train"]
print(sum(label == -100 for label in rows["label"]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
