"""Sentence encoders by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.adapters import Adapter, load_model
from hfdistill.models.hub import hub_errors
from hfdistill.models.loading import load_tokenizer
from hfdistill.models.pooling import Pooling, is_sentence_encoder, max_length_in
from hfdistill.students.factory import make_student
from hfdistill.tasks.models import default_depth

#: Texts on which the importance of dimensions is measured, where a student is narrower.
_SAMPLE = 256


def load_sentence_encoder(
    name: str, pooling: str | None = None, normalize: bool | None = None
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """An encoder that gives one embedding for a text, and its tokenizer, as a `sentence-transformers` folder says.

    The model is a plain `transformers` encoder; how it pools is noted in its config, by which trainer, teachers, soft
    targets and `compare` know that it gives embeddings.

    Args:
        name: A folder, or a name on the Hub.
        pooling: `mean`, `cls`, `max` or `lasttoken`; by default what `1_Pooling/config.json` says, else `mean`.
        normalize: Whether embeddings have length 1; by default what `modules.json` says, else not.

    Raises:
        HubUnreachableError: when the Hub is needed and cannot be reached.
        OSError: when there is no such model.
        ValueError: when it has no tokenizer, or does more than to pool and normalize.
    """
    tokenizer = load_tokenizer(name)
    model = load_model(AutoModel, name)
    with hub_errors(name):
        # An adapter says how it pools, or the model that it is for; an encoder that was saved alone, in its config.
        adapter = None if is_sentence_encoder(name) else Adapter.of(name)
        source = adapter.base if adapter else name
        noted = None if is_sentence_encoder(source) else Pooling.of_config(model.config)
        found, length = noted or Pooling.read(source), max_length_in(source)
    if length is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, length)
    return tokenizer, as_sentence_encoder(
        model, pooling or found.mode, found.normalize if normalize is None else normalize
    )


def as_sentence_encoder(model: PreTrainedModel, pooling: str = "mean", normalize: bool = True) -> PreTrainedModel:
    """Notes in an encoder's config how it makes one embedding of a text.

    Raises:
        ValueError: for a pooling that is none.
    """
    config: Any = model.config
    Pooling(pooling, normalize).set_in(config)
    return model


def load_sentence_student(
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name_or_path: str | None = None,
    *,
    num_hidden_layers: int | None = None,
    hidden_size: int | None = None,
    texts: Sequence[str] = (),
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """The untrained student of a sentence encoder and its tokenizer: the named model, or some of the teacher's layers.

    Its embeddings have length 1 where the teacher's have.

    Args:
        teacher: A sentence encoder.
        tokenizer: Its tokenizer.
        name_or_path: A small encoder to start from; it pools as its folder says, else by the mean.
        num_hidden_layers: Otherwise the layers to keep, by default half of the teacher's.
        hidden_size: And the hidden dimensions, by default all.
        texts: On the first of them the importance of dimensions is measured, where some are left out.

    Raises:
        ValueError: when a name and a size are given, as a named model has its own size; otherwise as
            `load_sentence_encoder` and `make_student`.
    """
    pooling = Pooling.of_config(teacher.config) or Pooling()
    if name_or_path is not None:
        if num_hidden_layers or hidden_size:
            raise ValueError(
                f"{name_or_path} has a size of its own: leave out --student_num_hidden_layers and "
                "--student_hidden_size, or the name."
            )
        return load_sentence_encoder(name_or_path, normalize=pooling.normalize)
    layers, sample = num_hidden_layers or default_depth(teacher), None
    if hidden_size is not None:
        read = tokenizer(list(texts[:_SAMPLE]), truncation=True, max_length=128, padding=True, return_tensors="pt")
        sample = dict(read)
    return tokenizer, make_student(teacher, layers, hidden_size=hidden_size, importance_batch=sample)
