"""Makes token soft targets in a process of its own: `make_token_soft_targets.py STORE OUT [--seconds-a-batch S]`."""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import make_tokenizer
from tiny_seq2seq import make_pairs, make_seq2seq

from hfdistill import token_soft_targets

parser = argparse.ArgumentParser()
parser.add_argument("store")
parser.add_argument("out", type=Path)
parser.add_argument("--seconds-a-batch", type=float, default=0.0)
options = parser.parse_args()

sys.modules["hfdistill.soft_targets.precompute"].SECONDS_A_PART = 0.0  # a part after every batch
forwarded = []


def watch(_, args, inputs):
    forwarded.append(len(inputs["input_ids"]))
    time.sleep(options.seconds_a_batch)


teacher = make_seq2seq(seed=2)
teacher.register_forward_pre_hook(watch, with_kwargs=True)
rows = token_soft_targets(
    teacher, make_pairs(40), make_tokenizer(), k=6, method="sampled", batch_size=2, store=options.store
)
torch.save({"rows": rows["teacher_tokens"][:], "forwarded": sum(forwarded)}, options.out)
