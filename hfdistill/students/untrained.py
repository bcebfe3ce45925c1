"""`untrained_student`: an encoder of any family, from its config, that reads its teacher's tokens."""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModel,
    AutoModelForMaskedLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hfdistill.models.adapters import load_config
from hfdistill.models.heads import VocabularyHead, head_of, is_bare_encoder
from hfdistill.models.inputs import max_positions
from hfdistill.models.token_ids import vocabulary_sizes
from hfdistill.models.wrappers import config_of, without_adapters


def untrained_student(
    teacher: PreTrainedModel,
    config: PreTrainedConfig | str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = 128,
) -> PreTrainedModel:
    """Make an untrained encoder of a config, with its teacher's vocabulary, and its teacher's head where it has one.

    Of the config all counts but its vocabulary: the number of tokens is the teacher's, and the ids that it names, such
    as `pad_token_id`, are the tokenizer's. The weights depend on torch's seed, as any new model's do.

    Args:
        teacher: An encoder, bare or one that fills in masked tokens; nothing of its weights is used.
        config: That of the student, of any family of encoders; or its file, its folder, or a name on the Hub.
        tokenizer: The teacher's.
        max_length: The most tokens of a row that the student is to read.

    Returns:
        A plain `transformers` model in float32, on the default device, in train mode.

    Raises:
        HubUnreachableError, OSError: when there is no such config, or it cannot be read.
        ValueError: when the teacher has another head, the config is of no encoder, or its positions are fewer than the
            tokens of a row.
    """
    fills_masks = type(head_of(teacher)) is VocabularyHead
    inner = without_adapters(teacher)
    if not (fills_masks or is_bare_encoder(inner)):
        raise ValueError(
            f"the teacher, a {type(inner).__name__}, decides {head_of(teacher).decides}: an untrained student is made "
            "here of encoders that are bare or fill in masked tokens; of another one make it with the from_config of "
            "its own AutoModel class."
        )
    config = copy.deepcopy(config) if isinstance(config, PreTrainedConfig) else load_config(config)
    _check_encoder(config)
    _share_vocabulary(config, config_of(teacher), tokenizer)
    auto: Any = AutoModelForMaskedLM if fills_masks else AutoModel
    student: PreTrainedModel = auto.from_config(config).float().train()
    length = min(max_length, tokenizer.model_max_length)
    if (positions := max_positions(student)) < length:
        raise ValueError(
            f"a row has up to {length} tokens, and the student's config has positions for {positions}: make rows of "
            f"fewer (--max_length {positions}), or give its config more."
        )
    return student


def _check_encoder(config: Any) -> None:
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING or config.is_encoder_decoder or getattr(config, "is_decoder", 0):
        where = f"{config.name_or_path} holds" if config.name_or_path else "this is"
        raise ValueError(
            f"{where} the config of a {config.model_type}, which is no encoder that can fill in masked tokens: give "
            "that of a BERT, RoBERTa, ELECTRA, DeBERTa, ModernBERT or the like."
        )


def _share_vocabulary(config: Any, teacher: Any, tokenizer: Any) -> None:
    """Writes the teacher's vocabulary into a student's config, which is no longer that of the name it came from."""
    config.vocab_size = teacher.vocab_size
    if vocabulary_sizes(config) != {teacher.vocab_size}:
        raise ValueError(
            f"the config of a {config.model_type} does not have all its tokens in one vocab_size, as which the "
            f"teacher's {teacher.vocab_size} could be written: give that of another family."
        )
    for name in [name for name in vars(config) if name.endswith("_token_id")]:
        setattr(config, name, getattr(tokenizer, name, None))
    config.dtype, config.name_or_path, config.architectures = torch.float32, "", None
