"""Generated pictures and sounds, and models small enough for them, so that everything runs with no network.

The **pictures** show one shape of eight, 32 x 32 pixels: a disc, ring, square, frame, triangle, cross, a pair of bars
upright or lying. Its place, size, brightness and color are drawn anew each time, half of the pixels' range is noise,
and two lines of clutter cross every picture. The **sounds** are melodies of six kinds: rising, falling, up and down,
down and up, two notes in turns, one note. Base, interval, tempo, loudness and length (a third to two thirds of a second
at 4 kHz) are drawn anew, and noise is laid over them.

What makes both worth distilling: pixels and samples say nothing by themselves, so that a small model needs many rows;
and **annotators disagree**: one training label in five is another than the right one. Validation and test labels are
clean. A larger teacher has averaged over the disagreement, and its soft targets pass that on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Array3D, ClassLabel, Dataset, DatasetDict, Features, List, Value
from transformers import (
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTImageProcessorPil,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

SHAPES = ("disc", "ring", "square", "frame", "triangle", "cross", "upright bars", "lying bars")
MELODIES = ("rising", "falling", "up and down", "down and up", "trill", "steady")
ROWS = {"train": 2400, "validation": 100, "test": 400}
#: The share of training labels that are another than the right one.
DISAGREEMENT = 0.2
#: Pixels a side, and samples a second.
SIDE, RATE = 32, 4000
#: What a recipe does with `--demo`, where nothing else is given.
MEDIA_DEMO: dict[str, Any] = {
    "train_teacher": True,
    "baseline": True,
    "learning_rate": 3e-3,
    "num_train_epochs": 6,
    "warmup_steps": 0.1,
    "temperature": 2.0,
    "alpha": 0.9,
}


def demo_pictures(seed: int = 0) -> DatasetDict:
    """Splits of generated pictures: `image`, bytes of shape `(SIDE, SIDE, 3)`, and `label`."""
    return _splits("image", Array3D((SIDE, SIDE, 3), "uint8"), SHAPES, _picture, seed)


def demo_sounds(seed: int = 0) -> DatasetDict:
    """Splits of generated melodies: `audio`, an array and its `sampling_rate`, and `label`."""
    feature = {"array": List(Value("float32")), "sampling_rate": Value("int32")}
    return _splits("audio", feature, MELODIES, _melody, seed)


def _splits(
    column: str, feature: Any, names: tuple[str, ...], make: Callable[[np.random.Generator, str], Any], seed: int
) -> DatasetDict:
    features = Features({column: feature, "label": ClassLabel(names=list(names))})
    splits = {}
    for number, (split, count) in enumerate(ROWS.items()):
        rng = np.random.default_rng([seed, number])
        labels = rng.integers(len(names), size=count)
        cells = [make(rng, names[label]) for label in labels]
        if split == "train":
            wrong = rng.random(count) < DISAGREEMENT
            labels = np.where(wrong, (labels + rng.integers(1, len(names), size=count)) % len(names), labels)
        splits[split] = Dataset.from_dict({column: cells, "label": labels}, features=features)
    return DatasetDict(splits)


def _picture(rng: np.random.Generator, name: str) -> np.ndarray:
    size = rng.uniform(6, 10)
    y, x = (grid - rng.uniform(size + 1, SIDE - size - 2) for grid in np.mgrid[:SIDE, :SIDE])
    radius, square, width = np.hypot(y, x), np.maximum(abs(y), abs(x)), rng.uniform(1.4, 2.2)
    bars = {"upright bars": (x, y), "lying bars": (y, x)}.get(name, (x, y))
    inside = {
        "disc": radius < size,
        "ring": (radius < size) & (radius > size - width),
        "square": square < size * 0.85,
        "frame": (square < size * 0.85) & (square > size * 0.85 - width),
        "triangle": (y < size * 0.7) & (abs(x) < (y + size) * 0.6),
        "cross": (np.minimum(abs(x), abs(y)) < width * 0.7) & (square < size),
    }.get(name, (abs(abs(bars[0]) - size * 0.5) < width * 0.7) & (abs(bars[1]) < size))
    for _ in range(2):
        angle, offset = rng.uniform(0, np.pi), rng.uniform(-6, 6)
        inside = inside ^ (abs(np.cos(angle) * x + np.sin(angle) * y - offset) < 0.6)
    color, ground = rng.uniform(0.55, 1.0, size=3), rng.uniform(0.1, 0.4, size=3)
    picture = np.where(inside[..., None], color, ground) + rng.uniform(-0.25, 0.25, size=(SIDE, SIDE, 3))
    return (255 * picture.clip(0, 1)).astype(np.uint8)


def _melody(rng: np.random.Generator, name: str) -> dict[str, Any]:
    count = int(rng.integers(5, 9))
    steps = np.arange(count)
    turn = abs(steps - (count - 1) / 2)
    contour = {
        "rising": steps,
        "falling": -steps,
        "up and down": -2 * turn,
        "down and up": 2 * turn,
        "trill": 2 * (steps % 2),
        "steady": 0 * steps,
    }[name]
    semitones = rng.uniform(0, 8) + rng.uniform(0.8, 1.6) * (contour - contour.min())
    lengths = rng.uniform(0.055, 0.085) * RATE * rng.uniform(0.8, 1.2, size=count)
    pitch = np.repeat(400 * 2 ** (semitones / 12), lengths.astype(int))
    tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * rng.uniform(0.3, 1.0)
    samples = tone + rng.normal(0, 0.4, size=len(tone))
    return {"array": samples.astype(np.float32), "sampling_rate": RATE}


def demo_picture_model(width: int, depth: int) -> tuple[PreTrainedModel, Any]:
    """A ResNet of random weights for the generated pictures, and its processor.

    Args:
        width: Channels of its first stage; the two others have twice and four times as many.
        depth: Blocks of each stage.
    """
    sizes: dict[str, Any] = {
        "embedding_size": width,
        "hidden_sizes": [width, 2 * width, 4 * width],
        "depths": [depth] * 3,
    }
    model = ResNetForImageClassification(ResNetConfig(layer_type="basic", **sizes, **_names(SHAPES)))
    return model, ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})


def demo_sound_model(width: int, depth: int) -> tuple[PreTrainedModel, Any]:
    """A wav2vec 2.0 of random weights for the generated melodies, and its feature extractor.

    Args:
        width: Hidden dimensions, and channels of the convolutions.
        depth: Layers.
    """
    config = small_wav2vec2(width, depth, classifier_proj_size=width, **_names(MELODIES))
    return Wav2Vec2ForSequenceClassification(config), Wav2Vec2FeatureExtractor(
        sampling_rate=RATE, return_attention_mask=True
    )


def small_wav2vec2(width: int, depth: int, **settings: Any) -> Wav2Vec2Config:
    """The config of a wav2vec 2.0 for 4,000 samples a second: 50 frames are a second."""
    convolutions: dict[str, Any] = {"conv_dim": (width,) * 3, "conv_kernel": (64, 4, 4), "conv_stride": (20, 2, 2)}
    # The norm that does not hear padding.
    norms: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "num_feat_extract_layers": 3}
    positions: dict[str, Any] = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    sizes: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
    }
    # What makes a model learn from recordings without labels would only slow so small a one.
    plain: dict[str, Any] = {"layerdrop": 0.0, "mask_time_prob": 0.0, "feat_proj_dropout": 0.0}
    return Wav2Vec2Config(**convolutions, **norms, **positions, **sizes, **plain, **settings)


def _names(names: tuple[str, ...]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
