"""Makes a prompted language model's soft targets in one of several processes: `... FOLDER OUT`."""

import sys
from pathlib import Path

import numpy as np
from accelerate import PartialState
from datasets import load_from_disk

from hfdistill import PromptTeacher, soft_targets

folder, out = map(Path, sys.argv[1:])
words = {"bad": ["bad", "very dull"], "fair": "very fair", "good": ["good"]}
teacher = PromptTeacher.from_pretrained(folder, "Review: {text}\nSentiment:", words)
rows = []
teacher.model.register_forward_pre_hook(lambda _, args, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True)
result = soft_targets(teacher, load_from_disk(folder / "dataset"), batch_size=2, store=out / "store")
logits = np.array(result["teacher_logits"][:], dtype=np.float32)
np.savez(out / f"rank{PartialState().process_index}.npz", logits=logits, rows=sum(rows))
