"""Makes a teacher's targets of rows that come again and again: `stream_targets.py KIND COUNT`; prints peak memory.

KIND is `tokens` (distributions of an encoder-decoder) or `texts` (of a language model).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from datasets import Dataset
from measure_peak_memory import peak_mib
from tiny import make_tokenizer
from tiny_seq2seq import make_pairs, make_seq2seq
from transformers import GPT2Config, GPT2LMHeadModel

from hfdistill import token_soft_targets

kind, count = sys.argv[1], int(sys.argv[2])
few = make_pairs()
if kind == "texts":
    few = few.select_columns("input_ids")
rows = Dataset.from_generator(lambda: (row for _ in range(count // len(few)) for row in few), features=few.features)
if kind == "tokens":
    made = token_soft_targets(make_seq2seq(seed=2), rows, make_tokenizer(), k=30, method="top_k")
else:
    config = GPT2Config(vocab_size=len(make_tokenizer()), n_positions=16, n_embd=16, n_layer=1, n_head=2)
    made = token_soft_targets(GPT2LMHeadModel(config), rows, make_tokenizer(), k=30, method="top_k")
assert len(made) == len(rows)
print(peak_mib())
