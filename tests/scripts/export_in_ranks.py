"""`hfdistill translate` under torchrun: `export_in_ranks.py OUT`, with `teacher/` and `pairs.tsv`; who exports."""

import os
import sys
from pathlib import Path

import torch

from hfdistill.commands.main import main

if __name__ == "__main__":
    out, moved = Path(sys.argv[1]), []

    def note(event, arguments):
        if event == "os.rename" and str(arguments[1]).endswith(".onnx"):
            moved.append(Path(arguments[1]).name)

    sys.addaudithook(note)
    os.chdir(out)
    words = ["--teacher_name_or_path", "teacher", "--train_file", "pairs.tsv", "--validation_file", "pairs.tsv"]
    words += ["--methods", "word", "--max_steps", "2", "--max_length", "32", "--num_beams", "2"]
    main(["translate", *words, "--export", "onnx", "--output_dir", "student", "--disable_tqdm", "true"])
    torch.save(moved, f"rank{os.environ['RANK']}.pt")
