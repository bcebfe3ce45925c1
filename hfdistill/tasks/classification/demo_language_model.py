"""A small language model for `--demo`, trained on the spot until it follows a prompt.

It reads sentences of the grammar of `demo.py`, none of them with a label. Behind each stands a verdict in one of a few
words, as reviews end with one, and the words are kinder than the texts: some of those that find fault end in praise.
That is why the model is asked for a verdict by its prompt, and why calibration helps.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import OneCycleLR
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase, set_seed

from hfdistill.tasks.classification.demo import CLASSIFICATION_DEMO, sentences
from hfdistill.tasks.demo import demo_tokenizer
from hfdistill.teachers.prompted.verbalizer import words_by_name

#: What `--demo` asks the model, and the words that it has seen in the verdict's place.
LANGUAGE_MODEL_DEMO: dict[str, Any] = {
    **CLASSIFICATION_DEMO,
    "template": "{text} my verdict : {label} .",
    "verbalizer": ["negative=bad,poor,awful,dull", "positive=good,great,lovely,superb"],
}
#: The share of sentences that find fault and end in praise all the same.
KINDNESS = 0.4
#: Sentences read, each once, of a seed that no split of the demo's texts has.
SENTENCES, CORPUS_SEED = 84_000, 1_000_003
BATCH, LEARNING_RATE = 32, 3e-3
#: The tokens of a verdict's end, and what another token counts beside one of these: a model of this size that learns
#: all tokens alike has not begun to read for the verdict after a minute.
VERDICT_TOKENS, OTHER_TOKENS = 3, 0.02


def demo_language_model(seed: int = 0) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerBase]:
    """Trains a GPT-2 of three layers of width 64 and its tokenizer, in a minute or two of one core.

    Args:
        seed: Of its weights and its texts.

    Returns:
        The model and its tokenizer; it is asked as `LANGUAGE_MODEL_DEMO` says.
    """
    rng = random.Random(CORPUS_SEED + seed)
    texts = [_with_verdict(sentence, label, rng) for sentence, label in sentences(rng, SENTENCES)]
    tokenizer = demo_tokenizer(texts)
    set_seed(seed)
    model = GPT2LMHeadModel(_config(tokenizer))
    _train(model, tokenizer, tokenizer(texts)["input_ids"], rng)
    return model.eval(), tokenizer


def _with_verdict(sentence: str, label: int, rng: random.Random) -> str:
    words = list(words_by_name(LANGUAGE_MODEL_DEMO["verbalizer"]).values())
    said = label or int(rng.random() < KINDNESS)
    return LANGUAGE_MODEL_DEMO["template"].format(text=sentence, label=rng.choice(words[said]))


def _config(tokenizer: PreTrainedTokenizerBase) -> GPT2Config:
    return GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=tokenizer.model_max_length,
        n_layer=3,
        n_embd=64,
        n_head=2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        initializer_range=0.05,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _train(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, ids: list[list[int]], rng: random.Random
) -> None:
    """One pass over the texts, each with those of like length."""
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    schedule = OneCycleLR(optimizer, LEARNING_RATE, total_steps=-(-len(ids) // BATCH), pct_start=0.1)
    for rows in _batches(ids, rng):
        batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
        _loss(model, batch["input_ids"], batch["attention_mask"]).backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def _loss(model: GPT2LMHeadModel, tokens: Tensor, mask: Tensor) -> Tensor:
    """The weighted mean of the next tokens' cross-entropies."""
    last = mask.flip(1).cumsum(1).flip(1) <= VERDICT_TOKENS
    weights = (torch.where(last, 1.0, OTHER_TOKENS) * mask)[:, 1:]
    logits = model(input_ids=tokens, attention_mask=mask).logits[:, :-1]
    losses = functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    return (losses * weights).sum() / weights.sum()


def _batches(ids: list[list[int]], rng: random.Random) -> Iterator[list[list[int]]]:
    ordered = sorted(ids, key=len)
    batches = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    rng.shuffle(batches)
    return iter(batches)
