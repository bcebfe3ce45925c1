"""Classifiers by their names: loaded from a folder or the Hub, with the head that a task needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

from hfdistill.models.hub import hub_errors, load_tokenizer


def load_classifier(
    name: str, trust_remote_code: bool = False, **head: Any
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """A classifier and its tokenizer.

    Args:
        name: A folder, or a name on the Hub.
        trust_remote_code: Whether code that is kept there is run.
        **head: What it is to answer, such as `TextClassificationData.head`, when it is going to be trained: it comes
            in float32 then, and gets a new head where its own does not fit. Without it, it comes as it was saved.

    Raises:
        HubUnreachableError: when the Hub is asked and does not answer.
        OSError: when there is no such model.
        ValueError: when what is there is no classifier, such as a translator, has no tokenizer, or needs code that is
            not trusted.
    """
    trainable = {"dtype": "float32", "ignore_mismatched_sizes": True} if head else {"dtype": "auto"}
    tokenizer = load_tokenizer(name, trust_remote_code)
    how = {**trainable, "trust_remote_code": trust_remote_code}
    with hub_errors(name):
        if not head:
            config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
            _refuse_translator(name, config.architectures or ())
        return tokenizer, AutoModelForSequenceClassification.from_pretrained(name, **how, **head)


def _refuse_translator(name: str, architectures: Sequence[str]) -> None:
    """A translator would get a new head, whose predictions mean nothing."""
    found = [one for one in architectures if one in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values()]
    if found:
        raise ValueError(
            f"{name} is a translator ({found[0]}) and no classifier: hfdistill translate compares it, and "
            "--export ctranslate2 there, or hfdistill.export_ctranslate2, exports it for CTranslate2."
        )
