"""Generated recordings of tones that spell words, and models small enough for them, so that nothing needs a network.

A recording says two or three of 30 words. Each of eight letters is two tones at once, as the keys of a telephone are,
six to nine hundredths of a second long, letters run into one another, and words are apart by a short silence. Pitch and
tempo of the speaker, loudness and noise are drawn anew for each recording of 4,000 samples a second.

What makes it worth distilling: nobody says which frame is which letter; a small model has to find pitches in samples
that are half noise; and **transcripts are wrong** where they are made in haste: one training word in eight is another
word than the one that is said. Validation and test transcripts are right.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, Features, List, Value
from transformers import (
    PreTrainedModel,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

from hfdistill.tasks.media.demo import RATE, small_wav2vec2

#: Each letter's two tones, in Hz.
LETTERS = dict(zip("aeinorst", itertools.product((420.0, 560.0), (760.0, 960.0, 1210.0, 1530.0)), strict=True))
WORDS = tuple(
    "tea rat sea tin nose star rain stone toast rose nest east sort train siren note tone iron snore area ratio noise "
    "onset arise tenor store ear oar ant sir".split()
)
#: One word a recording, out of ten.
COMMANDS: dict[str, Any] = {"words": WORDS[:10], "counts": (1, 1)}
ROWS = {"train": 700, "validation": 80, "test": 250}
#: What a recipe does with `--demo`, where nothing else is given.
SPEECH_DEMO: dict[str, Any] = {
    "train_teacher": True,
    "baseline": True,
    "learning_rate": 3e-3,
    "num_train_epochs": 10,
    "warmup_steps": 0.1,
}
#: The share of words in the training transcripts that are another than the one that is said.
MISTAKES = 0.125


def demo_speech(seed: int = 0, words: Sequence[str] = WORDS, counts: tuple[int, int] = (2, 3)) -> DatasetDict:
    """Splits of generated recordings: `audio`, an array and its `sampling_rate`, and `text`.

    Args:
        seed: Of what is said, and how.
        words: What may be said.
        counts: The fewest words of a recording, and the most.
    """
    audio = {"array": List(Value("float32")), "sampling_rate": Value("int32")}
    features = Features({"audio": audio, "text": Value("string")})
    splits = {}
    for number, (split, count) in enumerate(ROWS.items()):
        rng = np.random.default_rng([seed, number])
        said: list[Any] = [rng.choice(words, size=rng.integers(counts[0], counts[1] + 1)) for _ in range(count)]
        sounds = [{"array": _recording(rng, one), "sampling_rate": RATE} for one in said]
        if split == "train":
            said = [[rng.choice(words) if rng.random() < MISTAKES else word for word in one] for one in said]
        splits[split] = Dataset.from_dict({"audio": sounds, "text": list(map(" ".join, said))}, features=features)
    return DatasetDict(splits)


def _recording(rng: np.random.Generator, words: Any) -> np.ndarray:
    pitch, tempo = rng.uniform(0.97, 1.03), rng.uniform(0.07, 0.1)
    pieces: list[Any] = [np.zeros(int(rng.uniform(0.02, 0.08) * RATE))]
    for word in words:
        pieces += [_tone(rng, letter, pitch, tempo * rng.uniform(0.85, 1.15)) for letter in word]
        pieces.append(np.zeros(int(rng.uniform(0.05, 0.1) * RATE)))
    samples = np.concatenate(pieces) * rng.uniform(0.4, 1.0)
    return (samples + rng.normal(0, rng.uniform(0.1, 0.3), size=len(samples))).astype(np.float32)


def _tone(rng: np.random.Generator, letter: str, pitch: float, seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    waves = [np.sin(2 * np.pi * pitch * hertz * time + rng.uniform(0, 6.3)) for hertz in LETTERS[letter]]
    return np.mean(waves, axis=0)


def demo_speech_processor() -> Wav2Vec2Processor:
    """What turns these recordings into samples, and letters into texts; the blank is token 0."""
    names = ["<pad>", "<unk>", "|", *LETTERS]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.json"
        vocabulary.write_text(json.dumps({name: number for number, name in enumerate(names)}), encoding="utf-8")
        tokenizer = Wav2Vec2CTCTokenizer(str(vocabulary), bos_token=None, eos_token=None)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=True)
    return Wav2Vec2Processor(extractor, tokenizer)


def demo_speech_model(width: int, depth: int, processor: Wav2Vec2Processor) -> PreTrainedModel:
    """A wav2vec 2.0 of random weights for these recordings.

    Args:
        width: Hidden dimensions, and channels of the convolutions.
        depth: Layers.
        processor: Whose letters it tells apart.
    """
    tokenizer: Any = processor.tokenizer
    config = small_wav2vec2(width, depth, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    return Wav2Vec2ForCTC(config)
