"""Rows with pictures and sound, and tiny random teachers that see or hear them."""

import random

import numpy as np
import torch
from datasets import Dataset, Image, concatenate_datasets
from PIL import Image as Pictures
from tiny import WORDS, make_rows, make_tokenizer
from tokenizers import processors
from transformers import (
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForSequenceClassification,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from hfdistill import MediaTeacher

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def make_vit(seed=1, quiet=False):
    torch.manual_seed(seed)
    dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} if quiet else {}
    model = ViTForImageClassification(
        ViTConfig(image_size=8, patch_size=4, num_labels=3, initializer_range=0.4, **SIZES, **dropouts)
    )
    return model, ViTImageProcessorPil(size={"height": 8, "width": 8})


WRITER_SIDE = {"layers": 2, "attention_heads": 2, "ffn_dim": 24}
QUIET = {f"{name}_dropout": 0.0 for name in ("hidden", "attention", "activation", "feat_proj", "final")}
QUIET |= {"layerdrop": 0.0, "mask_time_prob": 0.0}


def listener_config(**changes):
    layers = {"conv_dim": (8, 8), "conv_kernel": (5, 3), "conv_stride": (3, 2), "num_feat_extract_layers": 2}
    # Its other norm looks at the padding, too.
    norms = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}
    own = {"num_labels": 3, "initializer_range": 0.4, **SIZES, **changes}
    return Wav2Vec2Config(**layers, **norms, **positions, **own)


def make_listener(seed=2):
    torch.manual_seed(seed)
    return Wav2Vec2ForSequenceClassification(listener_config()), Wav2Vec2FeatureExtractor(return_attention_mask=True)


def quiet_listener(seed=2):
    """Without dropout, layer drop and masked frames."""
    torch.manual_seed(seed)
    return Wav2Vec2ForSequenceClassification(listener_config(**QUIET))


def make_speaker(seed=3, **changes):
    """What tells five letters and a blank apart in each frame."""
    torch.manual_seed(seed)
    return Wav2Vec2ForCTC(listener_config(**{**QUIET, "vocab_size": 6, "pad_token_id": 0, **changes}))


def make_writer(seed=3):
    """A Whisper of 36 words that hears 20 frames at a time."""
    torch.manual_seed(seed)
    sides = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in WRITER_SIDE.items()}
    tokens = {"vocab_size": len(WORDS), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    lengths = {"num_mel_bins": 8, "max_source_positions": 10, "max_target_positions": 12}
    plain = {"dropout": 0.0, "begin_suppress_tokens": None, "suppress_tokens": None, "init_std": 0.4}
    config = WhisperConfig(**sides, **tokens, **lengths, **plain, d_model=16, decoder_start_token_id=2)
    return WhisperForConditionalGeneration(config)


def make_writer_tokenizer():
    """Ends what it writes by `[SEP]`, as the models do."""
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", special_tokens=[("[SEP]", 3)]
    )
    return tokenizer


def writer_rows(count=12):
    rng = np.random.default_rng(8)
    labels = [[*rng.integers(4, len(WORDS), size=rng.integers(1, 5)).tolist(), 3] for _ in range(count)]
    features = list(rng.normal(size=(count, 8, 20)).astype("float32"))
    return Dataset.from_dict({"input_features": features, "labels": labels})


def make_picture(rng):
    """Of any size; some gray, some with an alpha channel."""
    mode = rng.choice(["RGB", "L", "RGBA"])
    size = rng.randint(6, 12), rng.randint(6, 12)
    channels = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(rng.randrange(10**6)).integers(0, 256, (*size, *channels), dtype=np.uint8)
    return Pictures.fromarray(pixels, mode)


def make_media_rows(count=11):
    """Token ids and labels for the student; a picture and a sound of unequal length for the teacher."""
    rng = random.Random(5)
    pictures = [make_picture(rng) for _ in range(count)]
    sounds = [[rng.gauss(0, 1) for _ in range(rng.randint(60, 120))] for _ in range(count)]
    media = Dataset.from_dict({"picture": pictures, "sound": sounds}).cast_column("picture", Image())
    return concatenate_datasets([make_rows(count), media], axis=1)


def seer(dtype=None):
    return MediaTeacher(*make_vit(), "picture", dtype)


def hearer(dtype=None):
    return MediaTeacher(*make_listener(), "sound", dtype)
