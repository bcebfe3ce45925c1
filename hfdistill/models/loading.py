"""Tokenizers and classifiers by their names: loaded from a folder or the Hub, with the head that a task needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
)
from transformers.utils import is_sentencepiece_available

from hfdistill.models.adapters import auto_tokenizer, load_config, load_model
from hfdistill.models.extras import install_hint
from hfdistill.models.labels import LabelSpace
from hfdistill.models.vocabularies import has_vocabulary

#: Classes of models that write texts and do not translate, by model type.
_WRITERS = {**MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES, **MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}


def load_tokenizer(name: str, trust_remote_code: bool = False, **settings: Any) -> PreTrainedTokenizerBase:
    """A tokenizer, from a folder or the Hub.

    Args:
        name: The folder, or the name on the Hub.
        trust_remote_code: Whether code that is kept there is run.
        **settings: Of the tokenizer, such as `add_prefix_space`.

    Raises:
        HubUnreachableError: when the Hub is needed and cannot be reached.
        OSError: when there is nothing of this name, or the Hub refuses it.
        ValueError: when what is there has no tokenizer.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = auto_tokenizer(name, trust_remote_code, **settings)
    except (ImportError, ValueError) as error:
        if is_sentencepiece_available():
            raise
        raise ValueError(
            f"{error} Many tokenizers, such as Marian's, need sentencepiece: {install_hint('translation')}."
        ) from error
    if not has_vocabulary(tokenizer):
        raise ValueError(f"{name!r} has no tokenizer: save the one of the model there, tokenizer.save_pretrained(...).")
    return tokenizer


def load_classifier(
    name: str, trust_remote_code: bool = False, **head: Any
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """A classifier and its tokenizer.

    Args:
        name: A folder, or a name on the Hub.
        trust_remote_code: Whether code that is kept there is run.
        **head: What it is to predict, such as `TextClassificationData.head`, when it is going to be trained: it comes
            in float32 then, and gets a new head where its own does not fit. Without it, it comes as it was saved.

    Raises:
        HubUnreachableError: when the Hub is needed and cannot be reached.
        OSError: when there is no such model.
        ValueError: when what is there is no classifier, such as a translator, has no tokenizer, or needs code that is
            not trusted.
    """
    tokenizer = load_tokenizer(name, trust_remote_code)
    if not head:
        _refuse_writer(name, _architectures(name, trust_remote_code))
    return tokenizer, _load(AutoModelForSequenceClassification, name, trust_remote_code, head)


def load_tagger(
    name: str, trust_remote_code: bool = False, **head: Any
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """A token classifier, and its tokenizer set to read words; otherwise as `load_classifier`.

    Raises:
        ValueError: when what is there has another head and none is given, or has no tokenizer.
    """
    tokenizer = load_tokenizer(name, trust_remote_code)
    splitter = getattr(getattr(tokenizer, "backend_tokenizer", None), "pre_tokenizer", None)
    if type(splitter).__name__ == "ByteLevel":  # it tells by the space before it where a word begins
        tokenizer = load_tokenizer(name, trust_remote_code, add_prefix_space=True)
    return tokenizer, _load_head(AutoModelForTokenClassification, "TokenClassification", name, trust_remote_code, head)


def load_answer_finder(
    name: str, trust_remote_code: bool = False, **head: Any
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """A model that finds answers in a context, and its tokenizer; otherwise as `load_classifier`.

    Raises:
        ValueError: when what is there has another head and none is given, or has no tokenizer.
    """
    tokenizer = load_tokenizer(name, trust_remote_code)
    return tokenizer, _load_head(AutoModelForQuestionAnswering, "QuestionAnswering", name, trust_remote_code, head)


def _load_head(
    auto_class: Any, kind: str, name: str, trust_remote_code: bool, head: Mapping[str, Any]
) -> PreTrainedModel:
    """A model of a kind of head: its own, or the one that is given."""
    architectures = _architectures(name, trust_remote_code)
    if not head and architectures and not any(kind in one for one in architectures):
        raise ValueError(
            f"{name} is a {architectures[0]}, and this takes a {auto_class.__name__.removeprefix('AutoModel')} model: "
            "fine-tune it first with --train_teacher true, or name a fine-tuned one."
        )
    return _load(auto_class, name, trust_remote_code, head)


def _load(auto_class: Any, name: str, trust_remote_code: bool, head: Mapping[str, Any]) -> PreTrainedModel:
    trainable = {"dtype": "float32", "ignore_mismatched_sizes": True} if head else {"dtype": "auto"}
    model: PreTrainedModel = load_model(auto_class, name, trust_remote_code, **trainable, **head)
    return model


def label_names_of(name: str, trust_remote_code: bool = False) -> tuple[str, ...] | None:
    """The labels of a model, from a folder or the Hub, in their order; `None` of one that does not name them.

    Args:
        name: The folder, or the name on the Hub.
        trust_remote_code: Whether code that is kept there is run.

    Raises:
        HubUnreachableError, OSError: when it cannot be had.
    """
    return LabelSpace.of_config(load_config(name, trust_remote_code)).names


def _architectures(name: str, trust_remote_code: bool) -> Sequence[str]:
    with suppress(OSError, ValueError):  # which come again when it is loaded
        return load_config(name, trust_remote_code).architectures or ()
    return ()


def is_translator(name: str, trust_remote_code: bool = False) -> bool:
    """Whether a model is an encoder-decoder that writes texts; not so where nothing can be known of it.

    Args:
        name: A folder, or a name on the Hub.
        trust_remote_code: Whether code that is kept there is run.
    """
    writers = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values()
    return any(one in writers for one in _architectures(name, trust_remote_code))


def _refuse_writer(name: str, architectures: Sequence[str]) -> None:
    """A model that writes texts would get a new head, whose predictions mean nothing."""
    translators, writers = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values(), _flat(_WRITERS.values())
    for found in architectures:
        if found in translators:
            raise ValueError(
                f"{name} is a translator ({found}) and no classifier: hfdistill translate compares it, hfdistill "
                "export and hfdistill.export_translator export it."
            )
        if found in writers:
            raise ValueError(
                f"{name} writes texts ({found}) and is no classifier: hfdistill.compare(teacher, student, rows, "
                "tokenizer) measures it in Python, and the package optimum exports it for ONNX Runtime "
                "(optimum-cli export onnx)."
            )


def _flat(names: Iterable[str | Sequence[str]]) -> set[str]:
    return {one for some in names for one in ((some,) if isinstance(some, str) else some)}
