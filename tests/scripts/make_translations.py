"""Makes pseudo-translations in a process of its own, one of several: `make_translations.py FOLDER`."""

import sys
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import load_from_disk

from hfdistill import Seq2SeqTeacher, pseudo_translations

folder = Path(sys.argv[1])
teacher = Seq2SeqTeacher.from_pretrained(folder / "teacher")
forwarded, generate = [], teacher.model.generate


def counted(**given):
    forwarded.append(len(given["input_ids"]))
    return generate(**given)


teacher.model.generate = counted
rows = pseudo_translations(
    teacher,
    load_from_disk(folder / "texts"),
    source_column="en",
    num_beams=3,
    max_length=12,
    batch_size=4,
    store=folder / "store",
)
made = [[candidate["text"] for candidate in row] for row in rows["teacher_translations"]]
torch.save({"made": made, "forwarded": sum(forwarded)}, folder / f"rank{PartialState().process_index}.pt")
PartialState().destroy_process_group()
