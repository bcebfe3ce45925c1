"""A translator for CTranslate2 with int8 weights.

The converted model lies in `ctranslate2/` of the student's folder, whose tokenizer it goes with.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.export.base import Format, check_export, export_student, register
from hfdistill.export.ctranslate2_model import CTranslate2Model
from hfdistill.models.generation import BATCH, read_sources, translate

#: How weights are kept.
QUANTIZATION = "int8"
#: A conversion is wrong where both are beyond rounding: the least chrF, from 0 to 100, of its translations against the
#: model's own, and the most by which it differs, in nats for each token, on how likely the model's own are. A hardly
#: trained model wavers, so that rounding turns it to other words; whether that is too much its user decides.
LEAST_CHRF = 80.0
MOST_NATS = 0.5
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


@dataclass(frozen=True)
class TranslationParity:
    """How close a converted model's translations are to those of the model it was made of.

    Args:
        identical: The share of translations that are the same.
        chrf: chrF of the converted model's translations, the model's own as references.
        nats: The mean difference of the log-probabilities that both give each token of the model's translations.
        rows: Of how many texts.
    """

    identical: float
    chrf: float
    nats: float
    rows: int

    def __str__(self) -> str:
        same = f"{100 * self.identical:.1f} % of {self.rows:,} translations are the same"
        return f"{same}, chrF {self.chrf:.1f}, {self.nats:.2g} nats a token apart"


@dataclass(frozen=True)
class TranslatorSource:
    """A translator to be exported, and the texts to check its exports on.

    Args:
        model: The model, in eval mode.
        processing_class: Its tokenizer.
        settings: Its generation config, see `_generation_config`.
        texts: Source texts.
        num_beams: Width of the beam search to compare beside greedy.
        max_length: The most tokens of a text on either side.
    """

    model: PreTrainedModel
    processing_class: PreTrainedTokenizerBase
    settings: Any
    texts: Sequence[str]
    num_beams: int
    max_length: int


class CTranslate2Format(Format):
    """Encoder-decoders on CTranslate2's CPU engine."""

    task = "translation"
    packages = ("ctranslate2",)
    extra = "ctranslate2"

    def prepare(
        self,
        model: PreTrainedModel,
        processing_class: PreTrainedTokenizerBase,
        examples: Sequence[str],
        *,
        num_beams: int = 5,
        max_length: int = 128,
    ) -> TranslatorSource:
        """The source; settings as in `export_ctranslate2`."""
        check_ctranslate2(model.config.model_type)
        return TranslatorSource(model, processing_class, _generation_config(model), examples, num_beams, max_length)

    def export(self, source: TranslatorSource, path: Path) -> None:
        """Writes the converted model into a folder."""
        _convert(source.model, source.processing_class, source.settings, path)

    def load(self, path: Path, source: TranslatorSource) -> CTranslate2Model:
        """The converted model."""
        return CTranslate2Model(path, source.model.config, source.settings)

    def check(self, exported: CTranslate2Model, source: TranslatorSource) -> dict[str, TranslationParity]:
        """The comparison of the translations by `greedy` and `beam`."""
        return {
            name: _parity(source, exported, num_beams=beams, max_length=source.max_length)
            for name, beams in (("greedy", 1), ("beam", source.num_beams))
        }

    def fault(self, parity: dict[str, TranslationParity]) -> str:
        """Why it is broken: its translations and its log-probabilities are both beyond rounding."""
        for name, one in parity.items():
            # Either way: chrF of texts without a letter is 0, though they be the same.
            if not (one.chrf >= LEAST_CHRF or one.identical == 1 or one.nats <= MOST_NATS):
                return (
                    f"the ctranslate2 export is broken: its translations are not the model's ({name}: {one}, where "
                    f"rounding makes at most {MOST_NATS:g}): leave it out."
                )
        return ""


register(CTranslate2Format("ctranslate2", "ctranslate2"))


def check_ctranslate2(model_type: str) -> None:
    """Refuses what cannot be converted, before anything expensive is begun.

    Args:
        model_type: As in the config of the model, such as `marian`.

    Raises:
        ImportError: when the package is missing, saying what to install.
        ValueError: for another kind of model.
    """
    check_export(["ctranslate2"], "translation")
    if model_type not in _LOADERS:
        raise ValueError(
            f"a model of type {model_type!r} cannot be converted to CTranslate2; those that can are "
            f"{', '.join(_LOADERS)}."
        )


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


def _generation_config(model: PreTrainedModel) -> Any:
    """The generation config, with what an older model has in its config alone."""
    settings: Any = copy.deepcopy(model.generation_config)
    for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id", "forced_bos_token_id"):
        if getattr(settings, name) is None:
            setattr(settings, name, getattr(model.config, name, None))
    missing = [name for name in ("decoder_start_token_id", "eos_token_id") if getattr(settings, name) is None]
    if missing:
        raise ValueError(
            f"the generation config has no {' and no '.join(missing)}, so that a translation cannot begin or end: set "
            "it in model.generation_config."
        )
    return settings


def _convert(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: Any, folder: Path) -> None:
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
        OfThisModel().convert(str(folder), quantization=QUANTIZATION)
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


def _parity(source: TranslatorSource, converted: CTranslate2Model, **search: int) -> TranslationParity:
    model, tokenizer, texts = source.model, source.processing_class, source.texts
    expected = translate(model, tokenizer, texts, description="Running the model", **search)
    found = translate(converted, tokenizer, texts, description="Checking ctranslate2", **search)
    same = sum(one == other for one, other in zip(found, expected, strict=True))
    nats = _nats(model, converted, tokenizer, texts, search["max_length"])
    return TranslationParity(same / len(texts), _chrf(found, expected), nats, len(texts))


@torch.inference_mode()
def _nats(
    model: Any, converted: CTranslate2Model, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int
) -> float:
    """How far apart the two are on the tokens of the model's own greedy translations."""
    differences: list[float] = []
    for start in range(0, len(texts), BATCH):
        inputs = read_sources(model, tokenizer, texts[start : start + BATCH], max_length)
        tokens = model.generate(**inputs, num_beams=1, do_sample=False, max_length=max_length, max_new_tokens=None)
        logits = model(**inputs, decoder_input_ids=tokens[:, :-1]).logits.float()
        never = [words[0] for words in model.generation_config.bad_words_ids or [] if len(words) == 1]
        logits[..., never] = -torch.inf
        expected = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0].tolist()
        found = converted.log_probs(**inputs, tokens=tokens[:, 1:])
        for one, other in zip(expected, found, strict=True):  # those found end where the translation does
            differences += [abs(first - second) for first, second in zip(one, other, strict=False)]
    return sum(differences) / max(len(differences), 1)


def _chrf(translations: Sequence[str], references: Sequence[str]) -> float:
    from sacrebleu.metrics import CHRF

    return float(CHRF().corpus_score(list(translations), [list(references)]).score)
