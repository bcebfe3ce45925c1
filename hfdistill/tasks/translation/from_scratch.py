"""Translation models with nothing pretrained: a joint vocabulary of both languages, and small models over it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import MarianConfig, MarianMTModel, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hfdistill.models.families import SIDES, size_field

PADDING, END, UNKNOWN = "<pad>", "</s>", "<unk>"


def joint_tokenizer(texts: Iterable[str], vocab_size: int = 8000, max_length: int = 128) -> PreTrainedTokenizerFast:
    """Train one BPE vocabulary on the texts of both languages; the same texts give the same tokenizer.

    Args:
        texts: The training texts of both sides, and only those.
        vocab_size: The most entries.
        max_length: The most tokens of a text.

    Returns:
        A fast tokenizer that closes every text with `</s>`, and that saves and loads as any other.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.NFC()
    # Metaspace last: the pieces remember where spaces were, so that "." comes back joined to its word.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[PADDING, END, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, tokenizer.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        pad_token=PADDING,
        eos_token=END,
        unk_token=UNKNOWN,
        model_input_names=["input_ids", "attention_mask"],
    )


def small_marian(
    tokenizer: PreTrainedTokenizerBase,
    encoder_layers: int = 3,
    decoder_layers: int = 3,
    width: int = 256,
    dropout: float = 0.1,
    max_length: int = 128,
) -> MarianMTModel:
    """Make an untrained Marian with one embedding table for both sides and the output.

    Its weights depend on torch's seed, as any new model's do.

    Args:
        tokenizer: A joint tokenizer with a padding and an end token; padding is the decoder's start, as in Marian.
        encoder_layers: The encoder's layers.
        decoder_layers: The decoder's layers.
        width: The width, a multiple of 32: heads are 32 wide, the inner layers four times as wide.
        dropout: The share of activations dropped in training.
        max_length: The most tokens of a text on either side.

    Raises:
        ValueError: for another width.
    """
    if width < 32 or width % 32:
        raise ValueError(f"a Marian's heads are 32 wide, so that its width must be 32, 64, 96, ...; got {width}.")
    heads = width // 32
    config = MarianConfig(
        vocab_size=len(tokenizer),
        decoder_vocab_size=len(tokenizer),
        d_model=width,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        dropout=dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        activation_function="gelu",
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        max_position_embeddings=max_length,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        # Marian's 0.02 suits a width of 512; narrow models start to learn sooner with more.
        init_std=width**-0.5,
    )
    model = MarianMTModel(config)
    settings = model.generation_config
    settings.update(max_length=max_length, num_beams=1, bad_words_ids=[[tokenizer.pad_token_id]])
    return model


def new_translator(
    texts: Iterable[str],
    *,
    vocab_size: int = 8000,
    size: Sequence[int] = (3, 3, 256),
    dropout: float = 0.1,
    max_length: int = 128,
) -> tuple[PreTrainedTokenizerBase, MarianMTModel]:
    """Make an untrained Marian and its joint vocabulary: a teacher to train, or a student of a server's translations.

    Args:
        texts: The training texts of both sides, and only those.
        vocab_size: The most entries of the vocabulary.
        size: Encoder layers, decoder layers and width.
        dropout: As in `small_marian`.
        max_length: The most tokens of a text on either side.

    Raises:
        ValueError: for a width that is no multiple of 32.
    """
    tokenizer = joint_tokenizer(texts, vocab_size, max_length)
    encoder_layers, decoder_layers, width = size
    return tokenizer, small_marian(tokenizer, encoder_layers, decoder_layers, width, dropout, max_length)


def untrained_like(
    teacher: PreTrainedModel,
    num_encoder_layers: int | None = None,
    num_decoder_layers: int | None = None,
    hidden_size: int | None = None,
) -> PreTrainedModel:
    """Make an untrained model of a teacher's class and vocabulary, of other sizes, in float32.

    Args:
        teacher: An encoder-decoder; nothing of its weights is used.
        num_encoder_layers: The encoder's layers; default as many as the teacher's.
        num_decoder_layers: The decoder's layers; default likewise.
        hidden_size: Its width; the inner layers and the number of heads shrink in proportion.

    Raises:
        ValueError: when the inner layers or the heads cannot shrink so, with the widths to which they can.
    """
    config: Any = copy.deepcopy(teacher.config)
    if hidden_size is not None:
        _set_width(config, hidden_size)
    for side, layers in zip(SIDES, (num_encoder_layers, num_decoder_layers), strict=True):
        if layers:
            setattr(config, str(size_field(config, "layers", side)), layers)
    config.dtype, config.name_or_path = torch.float32, ""
    student = type(teacher)(config).float()
    student.generation_config = copy.deepcopy(teacher.generation_config)
    return student


def _set_width(config: Any, width: int) -> None:
    fields = {size_field(config, size, side) for size in ("width", "neurons", "heads") for side in SIDES}
    sizes = {field: getattr(config, field) for field in fields if field}
    old = config.hidden_size
    step = math.lcm(*(old // math.gcd(size, old) for size in sizes.values()))
    if width < 1 or width % step:
        raise ValueError(
            f"a {config.model_type} of width {old} and its heads shrink in proportion to a width of {step}, "
            f"{2 * step}, {3 * step}, ...; got {width}."
        )
    for name, size in sizes.items():
        setattr(config, name, size * width // old)
