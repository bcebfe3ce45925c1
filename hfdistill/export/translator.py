"""What the export formats of translators share: the texts to check on, and the check of the translations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.export.base import Format, Source
from hfdistill.models.generation import BATCH, read_sources, translate
from hfdistill.models.wrappers import config_of

#: An export is broken where both are beyond rounding: the least chrF, from 0 to 100, of its translations against the
#: model's own, and the most by which it differs, in nats for each token, on how likely the model's own are. A hardly
#: trained model wavers, so that rounding turns it to other words; whether that is too much its user decides.
LEAST_CHRF = 80.0
MOST_NATS = 0.5


@dataclass(frozen=True)
class TranslationParity:
    """How close an exported model's translations are to those of the model it was made of.

    Args:
        identical: The share of translations that are the same.
        chrf: chrF of the exported model's translations, the model's own as references.
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
class TranslatorSource(Source):
    """A translator to be exported, and the texts to check its exports on.

    Args:
        model: The model, in eval mode.
        processing_class: Its tokenizer.
        settings: Its generation config, see `completed_generation_config`.
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


class SearchParities(dict[str, TranslationParity]):
    """The parity of greedy translations and of those of a beam search, by `greedy` and `beam`."""

    def __str__(self) -> str:
        return "; ".join(f"{search} {parity}" for search, parity in self.items())


class TranslatorFormat(Format):
    """A format of translators.

    What it loads is a `Translator` of `models.inference` that has besides `log_probs(input_ids, attention_mask,
    tokens)`: the log-probabilities of given translations up to their ends, see `CTranslate2Model`.
    """

    task = "translation"

    def prepare(
        self,
        model: PreTrainedModel,
        processing_class: PreTrainedTokenizerBase,
        examples: Sequence[str],
        *,
        num_beams: int = 5,
        max_length: int = 128,
    ) -> TranslatorSource:
        """The source of every format of this class.

        Args:
            model: The model; it is left as it is, in eval mode.
            processing_class: Its tokenizer.
            examples: Source texts.
            num_beams: Width of the beam search to compare beside greedy.
            max_length: The most tokens of a text on either side.

        Raises:
            ValueError: for a model that does not write texts.
        """
        if not (getattr(config_of(model), "is_encoder_decoder", False) and model.can_generate()):
            raise ValueError(
                f"a {type(model).__name__} does not write texts, so it is no translator to export: export_onnx and "
                "hfdistill distill --export are for classifiers."
            )
        return TranslatorSource(
            model, processing_class, completed_generation_config(model), examples, num_beams, max_length
        )

    def check(self, exported: Any, source: TranslatorSource) -> SearchParities:
        """The comparison of the translations."""
        searches = {"greedy": 1, "beam": source.num_beams}
        return SearchParities({name: _parity(source, exported, self.name, beams) for name, beams in searches.items()})

    def fault(self, parity: SearchParities) -> str:
        """Why it is broken: its translations and its log-probabilities are both beyond rounding."""
        for name, one in parity.items():
            # Either way: chrF of texts without a letter is 0, though they be the same.
            if not (one.chrf >= LEAST_CHRF or one.identical == 1 or one.nats <= MOST_NATS):
                return (
                    f"the {self.name} export is broken: its translations are not the model's ({name}: {one}, where "
                    f"rounding makes at most {MOST_NATS:g}): leave it out."
                )
        return ""


def completed_generation_config(model: PreTrainedModel) -> Any:
    """A copy of the generation config, with what an older model has in its config alone.

    Raises:
        ValueError: when it does not say how a text begins or ends.
    """
    return completed(copy.deepcopy(model.generation_config), model.config)


def completed(settings: Any, config: Any) -> Any:
    """A generation config with what it lacks of a model's config; see `completed_generation_config`."""
    for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id", "forced_bos_token_id"):
        if getattr(settings, name) is None:
            setattr(settings, name, getattr(config, name, None))
    missing = [name for name in ("decoder_start_token_id", "eos_token_id") if getattr(settings, name) is None]
    if missing:
        raise ValueError(
            f"the generation config has no {' and no '.join(missing)}, so that a translation cannot begin or end: set "
            "it in model.generation_config."
        )
    return settings


def _parity(source: TranslatorSource, exported: Any, name: str, num_beams: int) -> TranslationParity:
    search: dict[str, Any] = {"num_beams": num_beams, "max_length": source.max_length}
    model, tokenizer, texts = source.model, source.processing_class, source.texts
    expected = translate(model, tokenizer, texts, description="Running the model", **search)
    found = translate(exported, tokenizer, texts, description=f"Checking {name}", **search)
    same = sum(one == other for one, other in zip(found, expected, strict=True))
    nats = _nats(model, exported, tokenizer, texts, source.max_length)
    return TranslationParity(same / len(texts), _chrf(found, expected), nats, len(texts))


@torch.inference_mode()
def _nats(
    model: Any, exported: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int
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
        found = exported.log_probs(**inputs, tokens=tokens[:, 1:])
        for one, other in zip(expected, found, strict=True):  # those found end where the translation does
            differences += [abs(first - second) for first, second in zip(one, other, strict=False)]
    return sum(differences) / max(len(differences), 1)


def _chrf(translations: Sequence[str], references: Sequence[str]) -> float:
    from sacrebleu.metrics import CHRF

    return float(CHRF().corpus_score(list(translations), [list(references)]).score)
