"""What a model's head decides: its output as logits, beside which the labels of a batch stand.

One decision a row (classifiers of texts, pictures, sound), one a token (token classifiers, language models), or where
in a text an answer begins and ends: the trainer, teachers and soft targets read each through the `Head` of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hfdistill.models.causal_lm import IGNORED, next_token_batch, predicts_next_token
from hfdistill.models.pooling import Pooling
from hfdistill.models.sequences import SEQUENCE_MASK
from hfdistill.models.wrappers import without_adapters

#: In rows and batches: which items of a row are decided on, `(items,)` and `(batch, items)`. Without it those that
#: have a label are; with it also items without one have soft targets.
ITEM_MASK = "item_mask"
#: The logit of a position that cannot be chosen: its probability is 0 at any usual temperature, in half precision too.
IMPOSSIBLE = -1e4
#: In batches of rows with choices: which there are, `(batch, choices)`; a row of fewer is filled up.
CHOICE_MASK = "choice_mask"


@dataclass(frozen=True)
class Head:
    """One decision a row: `(batch, classes)`.

    Args:
        item: What has a named label of its own: a `row`, a `token`, or `None` where labels have no names.
    """

    item: str | None = "row"

    #: What it decides on, for messages.
    decides: ClassVar[str] = "one label for a row"
    #: Whether there is something to decide for each token of a row, so that rows have decisions of unequal number.
    by_token: ClassVar[bool] = False
    #: Whether that is a frame of sound, which a model makes of many samples.
    by_frame: ClassVar[bool] = False
    #: Whether its soft targets can be stored whole.
    storable: ClassVar[bool] = True
    #: Whether its classes are those of the config, whose `problem_type` says what labels are.
    classifies: ClassVar[bool] = True
    #: As in `config.problem_type`, where that says nothing of this head.
    problem_type: ClassVar[str | None] = None
    #: Whether its scores are predictions, which terms on logits can compare.
    gives_logits: ClassVar[bool] = True

    def size(self, config: Any) -> int:
        """How many classes there are to choose from."""
        return int(config.num_labels)

    def inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What the model is called with, of what it reads of a batch."""
        return dict(batch)

    def scores(self, output: Any) -> Tensor | None:
        """What the model says, shape `(batch, classes)`, or `(batch, tokens, classes)` by token; `None` for nothing."""
        return getattr(output, "logits", None)

    def logits(self, scores: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Scores, of a model or stored, as logits of `(..., batch, items, classes)`, or without items of rows.

        Args:
            scores: As from `scores`.
            batch: What was read.
        """
        return scores

    def stored(self, scores: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """What is stored of scores: the scores themselves, but of embeddings, which are smaller."""
        return scores

    def of_stored(self, predictions: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """The logits of what was stored."""
        return self.logits(predictions, batch)

    def labeled(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """The batch with `labels` that stand beside the logits, and with `ITEM_MASK` where labels do not say it all."""
        return batch

    def settings(self, config: Any) -> dict[str, Any]:
        """What terms must know of a student with this head, by name, as `Term.from_settings` reads it."""
        return {}

    def predictions(self, logits: Tensor, batch: Mapping[str, Any]) -> Any:
        """What an evaluation hands over to `compute_metrics`, as `Trainer` would; padding frames are -100."""
        return logits


class TokenHead(Head):
    """One decision a token."""

    decides = "a label for each token"
    by_token = True


class VocabularyHead(Head):
    """A distribution over the vocabulary at each token, such as a masked language model's."""

    decides = "a token of the vocabulary at each token"
    by_token = True
    storable = classifies = False
    #: What makes labels of texts alone, for messages.
    collator = "MaskedTextCollator(tokenizer)"


class NextTokenHead(VocabularyHead):
    """The next token of a text."""

    decides = "the next token of a text"
    collator = "DataCollatorForLanguageModeling(tokenizer, mlm=False)"

    def labeled(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        return next_token_batch(batch)


class SpanHead(Head):
    """Where in a text an answer begins and ends: two decisions a row, each among its tokens.

    Padding cannot be chosen, so that what else is in a batch does not change a loss. (The loss of `transformers` itself
    lets padding take part.)
    """

    decides = "where an answer begins and ends"
    by_token = True
    classifies = False
    columns = ("start_positions", "end_positions")

    def scores(self, output: Any) -> Tensor | None:
        if getattr(output, "start_logits", None) is None:
            return None
        return torch.stack([output.start_logits, output.end_logits], dim=-1)

    def logits(self, scores: Tensor, batch: Mapping[str, Any]) -> Tensor:
        logits, mask = scores.transpose(-1, -2), batch.get("attention_mask")
        return logits if mask is None else logits.masked_fill(mask[:, None] == 0, IMPOSSIBLE)

    def labeled(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = next(value for value in batch.values() if isinstance(value, Tensor))
        mask = torch.ones(len(rows), 2, dtype=torch.bool, device=rows.device)
        if any(batch.get(name) is None for name in self.columns):
            return {**batch, ITEM_MASK: mask}
        labels = torch.stack([batch[name] for name in self.columns], dim=1)
        # An answer beyond what was read is none, whatever the padding (for `transformers`, beyond the padding).
        tokens = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
        places = labels.clamp(0, tokens.shape[1] - 1)
        outside = (labels != places) | (tokens.gather(1, places) == 0)
        return {**batch, "labels": labels.masked_fill(outside, IGNORED), ITEM_MASK: mask}

    def predictions(self, logits: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, ...]:
        return logits.unbind(1)


class CTCHead(Head):
    """A letter or none, the blank, for each frame of sound; which frame is which letter nobody says (CTC)."""

    decides = "a letter or a blank for each frame of sound"
    by_token = by_frame = True
    classifies = False

    def size(self, config: Any) -> int:
        return int(config.vocab_size)

    def settings(self, config: Any) -> dict[str, Any]:
        return {"blank": config.pad_token_id}

    def labeled(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**batch, ITEM_MASK: batch[SEQUENCE_MASK]}

    def predictions(self, logits: Tensor, batch: Mapping[str, Any]) -> Tensor:
        return logits.masked_fill(~batch[SEQUENCE_MASK][..., None], IGNORED)


class ChoiceHead(Head):
    """Which of a row's choices: `(batch, choices)`, of inputs `(batch, choices, tokens)`."""

    decides = "which of a row's choices"
    classifies = False
    problem_type = "single_label_classification"

    def logits(self, scores: Tensor, batch: Mapping[str, Any]) -> Tensor:
        mask = batch.get(CHOICE_MASK)
        return scores if mask is None else scores.masked_fill(~mask, IMPOSSIBLE)


class CandidateHead(ChoiceHead):
    """Which of a row's candidates, by a cross-encoder, a sequence classifier that scores one text or pair at a time."""

    decides = "which of a query's candidates"

    def inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {name: _flat(value) for name, value in batch.items()}

    def logits(self, scores: Tensor, batch: Mapping[str, Any]) -> Tensor:
        return super().logits(scores.view(len(batch[CHOICE_MASK]), -1), batch)


def _flat(value: Any) -> Any:
    return value.flatten(0, 1) if isinstance(value, Tensor) and value.dim() > 2 else value


@dataclass(frozen=True)
class EmbeddingHead(Head):
    """One embedding of a text, `(batch, width)`, pooled from an encoder's hidden states.

    Args:
        pooling: How it is made of them.
    """

    item: str | None = None
    pooling: Pooling = Pooling()  # noqa: RUF009 (frozen)

    decides = "an embedding of a text"
    classifies = False
    problem_type = "regression"

    def scores(self, output: Any) -> Tensor | None:
        return getattr(output, "last_hidden_state", None)

    def logits(self, scores: Tensor, batch: Mapping[str, Any]) -> Tensor:
        return self.pooling(scores, batch.get("attention_mask"))

    def stored(self, scores: Tensor, batch: Mapping[str, Any]) -> Tensor:
        return self.logits(scores, batch)

    def of_stored(self, predictions: Tensor, batch: Mapping[str, Any]) -> Tensor:
        return predictions

    def size(self, config: Any) -> int:
        return int(config.hidden_size)


class RepresentationHead(Head):
    """None: a bare encoder, as `AutoModel` loads it, whose hidden states terms on layers compare."""

    decides = "nothing, and gives representations"
    storable = classifies = gives_logits = False
    problem_type = "regression"

    def scores(self, output: Any) -> Tensor | None:
        return getattr(output, "last_hidden_state", None)


#: The head of models in whose class's name, or that of one of its bases, stands the key.
HEADS: dict[str, Head] = {
    "SequenceClassification": Head(),
    "ImageClassification": Head(),
    "AudioClassification": Head(),
    "TokenClassification": TokenHead("token"),
    "QuestionAnswering": SpanHead(None),
    "MaskedLM": VocabularyHead(None),
    "ForCTC": CTCHead(None),
    "MultipleChoice": ChoiceHead(None),
}
#: In a config: whether a classifier of one output is a reranker, whose rows are queries with candidates.
RANKS_CANDIDATES = "ranks_candidates"
_CANDIDATES = CandidateHead(None)
_UNKNOWN, _NEXT_TOKEN, _NONE = Head(None), NextTokenHead(None), RepresentationHead(None)


def head_of(model: Any) -> Head:
    """The head of a model, whatever stands around it; one of a kind that is not known has one decision a row."""
    inner = without_adapters(model)
    if predicts_next_token(inner):
        return _NEXT_TOKEN
    if getattr(getattr(inner, "config", None), RANKS_CANDIDATES, False):
        return _CANDIDATES
    names = [base.__name__ for base in type(inner).__mro__]
    pooling = Pooling.of_config(getattr(inner, "config", None)) if is_bare_encoder(inner) else None
    if pooling is not None:
        return EmbeddingHead(pooling=pooling)
    known = next((head for kind, head in HEADS.items() if any(kind in name for name in names)), None)
    return known or (_NONE if is_bare_encoder(inner) else _UNKNOWN)


def is_bare_encoder(model: Any) -> bool:
    """Whether a model of `transformers`, or of code that it has loaded, is an encoder without a head."""
    of_transformers = isinstance(model, PreTrainedModel) and type(model).__module__.startswith("transformers")
    plain = of_transformers and model.base_model is model and type(model).__name__.endswith("Model")
    return bool(plain and not model.config.is_encoder_decoder and not model.can_generate())
