"""Cleans pairs in a process of its own, one of several: `clean_pairs.py FOLDER`."""

import json
import os
import sys
from pathlib import Path

from datasets import load_from_disk

from hfdistill import clean_pairs
from hfdistill.tasks.translation.cleaning import clean

folder, rank, decided = Path(sys.argv[1]), os.environ["RANK"], []
decide = clean.decide
clean.decide = lambda work: (decided.append(True), decide(work))
rows = load_from_disk(folder / "pairs")
rows = rows.add_column("row", list(range(len(rows))))
kept, _ = clean_pairs(rows, skip=["swapped", "wrong language"])
(folder / f"rank{rank}.json").write_text(json.dumps({"decided": len(decided), "kept": kept["row"][:]}))
