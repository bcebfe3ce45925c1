"""A translator for CTranslate2 with int8 weights.

The converted model lies in `ctranslate2/` of the student's folder, whose tokenizer it goes with.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.export.base import export_student, register
from hfdistill.export.ctranslate2_model import CTranslate2Model
from hfdistill.export.translator import TranslationParity, TranslatorFormat, TranslatorSource

#: How weights are kept.
QUANTIZATION = "int8"
#: By the config's `model_type`: its converter, and what its config must hold for it. `transformers` has no
#: such fields: where the norms lie is written in the code of each family. Marian goes as BART does, for the converter's
#: own way takes the padding token for the vocabulary's last one, and its embedding for zero, as only OPUS-MT has them.
_LOADERS: dict[str, tuple[str, dict[str, bool]]] = {
    "marian": ("BartLoader", {"normalize_before": False, "normalize_embedding": False}),
    "bart": ("BartLoader", {"normalize_before": False, "normalize_embedding": True}),
    "mbart": ("BartLoader", {"normalize_before": True, "normalize_embedding": True}),
    "m2m_100": ("M2M100Loader", {}),
    "t5": ("T5Loader", {}),
    "mt5": ("T5Loader", {}),
}
#: Low enough never to be chosen.
_NEVER = -1e9


class CTranslate2Format(TranslatorFormat):
    """Encoder-decoders on CTranslate2's CPU engine."""

    packages = ("ctranslate2",)
    extra = "ctranslate2"

    def check_model(self, model_type: str) -> None:
        """Refuses a family that CTranslate2 has no converter for."""
        if model_type not in _LOADERS:
            raise ValueError(
                f"a model of type {model_type!r} cannot be converted to CTranslate2; those that can are "
                f"{', '.join(_LOADERS)}."
            )

    def export(self, source: TranslatorSource, path: Path) -> None:
        """Writes the converted model into a folder."""
        convert(source.model, source.processing_class, source.settings, path, QUANTIZATION)

    def load(self, path: Path, source: TranslatorSource) -> CTranslate2Model:
        """The converted model."""
        return CTranslate2Model(path, source.model.config, source.settings)


register(CTranslate2Format("ctranslate2", "ctranslate2"))


def export_ctranslate2(
    model: PreTrainedModel,
    processing_class: PreTrainedTokenizerBase,
    texts: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    num_beams: int = 5,
    max_length: int = 128,
) -> tuple[CTranslate2Model, dict[str, TranslationParity]]:
    """Converts a translation model to int8 for CTranslate2, and compares its translations with the model's.

    Tokens that the generation config never allows (`bad_words_ids` of one token) are never chosen by the converted
    model either, whoever runs it. A target language (`forced_bos_token_id`) is given to CTranslate2 as
    `target_prefix`; `CTranslate2Model` does so.

    Args:
        model: Marian, T5, BART, mBART or M2M100/NLLB; it is left as it is, in eval mode.
        processing_class: Its tokenizer.
        texts: Source texts to compare on; a few hundred will do.
        folder: The model's folder, in which the converted model comes to `ctranslate2/`.
        num_beams: Width of the beam search to compare beside greedy.
        max_length: The most tokens of a text on either side.

    Returns:
        The converted model, and the comparison by `greedy` and `beam`, which is its `parity`.

    Raises:
        ExportError: when the conversion is broken (chrF below `LEAST_CHRF` and more than `MOST_NATS` apart); nothing is
            left then.
        ImportError: when the package is missing, saying what to install.
        ValueError: when the model cannot be converted; nothing is left then.
    """
    how: dict[str, Any] = {"num_beams": num_beams, "max_length": max_length, "task": "translation"}
    made = export_student(model, processing_class, texts, folder, formats=["ctranslate2"], **how)["ctranslate2"]
    return made, made.parity


def convert(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: Any, folder: Path, quantization: str
) -> None:
    """Writes a translator as CTranslate2 reads it.

    Args:
        model: The model; it is left as it is.
        tokenizer: Its tokenizer.
        settings: Its generation config.
        folder: Where to.
        quantization: How weights are kept, such as `float32`.

    Raises:
        ValueError: when it cannot be converted.
    """
    from ctranslate2.converters import Converter, transformers

    name, fields = _LOADERS[model.config.model_type]
    # A copy: the model may be on another device, in another dtype, and the converter writes into its config.
    given = copy.deepcopy(model).cpu().float().eval()
    given.config.update(fields)

    class OfThisModel(Converter):
        def _load(self) -> Any:
            with torch.no_grad():
                spec = getattr(transformers, name)().get_model_spec(given)
                _name_tokens(spec, given, tokenizer, settings)
            return spec

    try:
        OfThisModel().convert(str(folder), quantization=quantization)
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())  # some of them are lists over many lines
        raise ValueError(
            f"ctranslate2 cannot convert this {type(model).__name__} ({type(error).__name__}: {reason}); leave the "
            "export out."
        ) from error


def _name_tokens(spec: Any, model: Any, tokenizer: PreTrainedTokenizerBase, settings: Any) -> None:
    """Gives the converted model its vocabulary, and which tokens begin, end and never occur."""
    names = {id_: token for token, id_ in tokenizer.get_vocab().items()}
    # Where embeddings are padded beyond the vocabulary, or have a gap, the rows need some name.
    tokens = [names.get(id_, f"<unused_{id_}>") for id_ in range(model.get_input_embeddings().weight.shape[0])]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    ends = settings.eos_token_id
    spec.config.decoder_start_token = tokens[settings.decoder_start_token_id]
    spec.config.eos_token = tokens[ends[0] if isinstance(ends, list) else ends]
    spec.config.unk_token = tokenizer.unk_token or tokens[0]
    spec.config.bos_token = tokenizer.bos_token or spec.config.decoder_start_token
    never = [words[0] for words in settings.bad_words_ids or [] if len(words) == 1]
    if never:
        projection = spec.decoder.projection
        bias = torch.as_tensor(projection.bias) if projection.has_bias() else torch.zeros(len(tokens))
        projection.bias = bias.index_fill(0, torch.tensor(never), _NEVER)
