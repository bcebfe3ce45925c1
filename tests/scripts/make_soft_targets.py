"""Makes soft targets in a process of its own: `make_soft_targets.py TEACHER STORE OUT [--seconds-a-batch S]`.

`{rank}` in the store's name makes it one folder a process, as on machines without a shared disk; `-` is the cache.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from accelerate import PartialState
from datasets import load_from_disk

from hfdistill import ModelTeacher, soft_targets

parser = argparse.ArgumentParser()
parser.add_argument("teacher", type=Path)
parser.add_argument("store")
parser.add_argument("out", type=Path)
parser.add_argument("--seconds-a-batch", type=float, default=0.0)
options = parser.parse_args()

sys.modules["hfdistill.soft_targets.precompute"].SECONDS_A_PART = 0.0  # a part after every batch
forwarded = []


def watch(_, args, inputs):
    forwarded.append(len(inputs["input_ids"]))
    time.sleep(options.seconds_a_batch)


teacher = ModelTeacher.from_pretrained(options.teacher, text_columns=["sentence"])
teacher.model.register_forward_pre_hook(watch, with_kwargs=True)
dataset = load_from_disk(options.teacher / "dataset")
store = None if options.store == "-" else options.store.format(rank=os.environ.get("RANK"))
result = soft_targets(teacher, dataset, batch_size=2, store=store)
rank = PartialState().process_index
np.savez(
    options.out.with_suffix(f".rank{rank}.npz") if rank else options.out,
    logits=np.array(result["teacher_logits"][:], dtype=np.float32),
    forwarded=np.array(forwarded),
)
