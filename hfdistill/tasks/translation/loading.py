"""Translators by their names: loaded from a folder or the Hub, set to their languages, and checked."""

from __future__ import annotations

from transformers import AutoModelForSeq2SeqLM, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.hub import hub_errors, load_tokenizer
from hfdistill.teachers.seq2seq import check_translator, languages_agree, set_languages


def load_translator(
    name: str,
    source_tag: str | None = None,
    target_tag: str | None = None,
    *,
    max_length: int = 128,
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """An encoder-decoder and its tokenizer, both set to the languages where there are several.

    Args:
        name: A folder, or a name on the Hub.
        source_tag: The source language as the tokenizer of a model of many languages writes it, such as `eng_Latn`.
        target_tag: The target language, likewise.
        max_length: The most tokens that a text will have on either side.
        dtype: The dtype of the weights; `float32` for a model to train, `auto` as it was saved.
        trust_remote_code: Whether code that is kept there is run.

    Raises:
        HubUnreachableError: when the Hub is asked and does not respond.
        OSError: when there is no such model.
        ValueError: when what is there does not translate, of many languages none are chosen, or its translations could
            not end or be as long as `max_length`.
    """
    tokenizer = load_tokenizer(name, trust_remote_code)
    with hub_errors(name):
        model = AutoModelForSeq2SeqLM.from_pretrained(name, dtype=dtype, trust_remote_code=trust_remote_code)
    if source_tag and target_tag:
        set_languages(model, tokenizer, source_tag, target_tag)
    elif not languages_agree(model, tokenizer):
        raise ValueError(f"{name} speaks many languages: name two with --source_tag and --target_tag.")
    check_translator(model, tokenizer, max_length)
    return tokenizer, model
