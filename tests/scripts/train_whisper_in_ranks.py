"""Makes a Whisper's transcripts and predictions and trains on them, under torchrun: `train_whisper_in_ranks.py OUT`."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from whisper_runs import train

if __name__ == "__main__":
    out = Path(sys.argv[1])
    result = train(out, 4, out / "store")
    torch.save(result, out / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()
