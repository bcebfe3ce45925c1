"""What a student is trained on: named, weighted terms, each a mean over the items that count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hfdistill.losses import COUNTED_ROWS, SPEECH_TERMS, TERMS, Batch, StudentOutput, Term
from hfdistill.losses.schedules import Schedule, value_at
from hfdistill.models.sound import FrameLengths
from hfdistill.training.ranges import WEIGHT, check_number

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hfdistill.losses.signal import TeacherSignal

Weight = float | Schedule


@dataclass
class Loss:
    """A loss and what it is made of.

    Args:
        total: `Σ weight · term`, with a graph.
        terms: Each term's own mean, unweighted and without a graph, by log name.
    """

    total: Tensor
    terms: dict[str, Tensor]


class Objective(nn.Module):
    """`Σ weight · term`, where each term is the mean of its loss over the items that count for it.

    A term of weight 0 is not computed in training; at evaluation it is reported where that is possible.

    Args:
        terms: For each name a weight, a number or a `Schedule`, and a `Term`.

    Raises:
        TypeError: for anything but a weight and a `Term` under a name.
        ValueError: when no term has a weight but 0, or a weight is negative or not a finite number.

    Example:
        >>> from hfdistill.losses import Labels, SoftTargets
        >>> objective = Objective({"labels": (0.3, Labels()), "soft_targets": (0.7, SoftTargets(temperature=4.0))})
        >>> objective.needs_teacher
        True
    """

    def __init__(self, terms: Mapping[str, tuple[Weight, Term]]) -> None:
        super().__init__()
        _check_terms(terms)
        self.weights = {name: _checked_weight(name, weight) for name, (weight, _) in terms.items()}
        if all(weight == 0 for weight in self.weights.values()):
            raise ValueError(
                f"an objective needs at least one term of a weight above 0, such as labels, got {self.weights}."
            )
        self.terms = nn.ModuleDict({name: term for name, (_, term) in terms.items()})
        self.progress = 0.0

    def named_terms(self, active_only: bool = False) -> Iterator[tuple[str, Term]]:
        """The terms in their order; `active_only` leaves out those whose weight is 0 throughout."""
        for name, term in self.terms.items():
            if not active_only or self.weights[name] != 0:
                assert isinstance(term, Term)
                yield name, term

    @property
    def log_names(self) -> list[str]:
        """How the logs call each term, in their order."""
        return [_log_name(name, term) for name, term in self.named_terms()]

    def part(self, names: Iterable[str]) -> Objective:
        """Some of the terms as an objective of their own, at the same point of training; the terms are shared."""
        part = Objective({name: (self.weights[name], self.terms[name]) for name in names})  # type: ignore[misc]
        part.progress = self.progress
        return part

    @property
    def needs_teacher(self) -> bool:
        """Whether training needs the teacher's signal."""
        return any(term.uses_teacher for _, term in self.named_terms(active_only=True))

    @property
    def outputs(self) -> frozenset[str]:
        """What both models must return beside their logits, such as `"hidden_states"`."""
        return frozenset().union(*(term.outputs for _, term in self.named_terms(active_only=True)))

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel, same_tokens: bool = True) -> None:
        """Makes what the terms have to learn themselves, anew, for these two models; see `Term.bind`.

        Args:
            student: The student, unwrapped.
            teacher: The model that will be asked for the terms' `outputs`.
            same_tokens: Whether both read the same token ids.

        Raises:
            ValueError: when a term cannot compare the two.
        """
        for name, term in self.named_terms(active_only=True):
            if term.token_wise and not same_tokens:
                raise ValueError(
                    f"the term {name!r} compares token by token, and the teacher reads the text with a tokenizer of "
                    "its own: take a teacher of the student's vocabulary, or a term on whole examples."
                )
            if term.reads_first_token and FrameLengths.of(student) is not None:
                raise ValueError(
                    f"the term {name!r} reads the first token, which stands for a whole text or picture, and the first "
                    f"frame of a {type(student).__name__} is one like others: take a term on all frames, such as "
                    "hidden_states or minilm."
                )
            if term.outputs:
                term.bind(student, teacher)

    def adopt(self, other: Objective) -> None:
        """Takes over what the terms of another objective have learned, where name and shapes are the same."""
        for name, term in self.named_terms():
            if name in other.terms and _shapes(term) == _shapes(other.terms[name]):
                for child, module in other.terms[name].named_children():
                    if module.state_dict():  # a fixed layer map has none: it is a setting
                        setattr(term, child, module)

    @property
    def starts_from_data(self) -> bool:
        """Whether a term wants the first step's batches before it starts."""
        return any(term.starts_from_data for _, term in self.named_terms(active_only=True))

    def statistics(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> dict[str, Tensor]:
        """Of each term that starts from data what it has to know of a batch; see `Term.statistics`."""
        starting = [(name, term) for name, term in self.named_terms(active_only=True) if term.starts_from_data]
        return {name: term.statistics(student, teacher, _valid(term, batch)) for name, term in starting}

    def start(self, statistics: Mapping[str, Tensor]) -> None:
        """Starts these terms from the sums over all batches of the first step; see `Term.start`."""
        terms = dict(self.named_terms())
        for name, sums in statistics.items():
            terms[name].start(sums)

    def finish_step(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Tells the terms that an optimizer step's last micro-batch is done; see `Term.finish_step`."""
        for _, term in self.named_terms(active_only=True):
            term.finish_step(gather)

    def set_progress(self, progress: float) -> None:
        """Tells schedules how far training has come, from 0 to 1."""
        self.progress = progress
        for _, term in self.named_terms():
            term.progress = progress

    def weight(self, name: str) -> float:
        """A term's weight at the present point of training."""
        return value_at(self.weights[name], self.progress)

    def scheduled_values(self) -> dict[str, float]:
        """What is scheduled, at the present point of training: weights, and settings of terms, for the logs."""
        weights = self.weights.items()
        values = {f"{name}_weight": self.weight(name) for name, weight in weights if isinstance(weight, Schedule)}
        for _, term in self.named_terms():
            config = term.config().items()
            values.update({key: term.scheduled(value) for key, value in config if isinstance(value, Schedule)})
        return values

    def counts(self, batches: Iterable[Batch]) -> Tensor:
        """How many items count for each term in all these batches together, shape `(terms,)`."""
        active = [term for _, term in self.named_terms(active_only=True)]
        return torch.stack([torch.stack([_valid(term, batch).sum() for term in active]) for batch in batches]).sum(0)

    def forward(
        self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch, counts: Tensor | None = None
    ) -> Loss:
        """The loss of one batch.

        Args:
            student: The student's output, with `logits` of shape `(batch, ..., classes)`.
            teacher: The teacher's signal for the same rows, or `None` when no term needs it.
            batch: The inputs, with `labels` and `attention_mask` where there are any.
            counts: The number of items to divide each active term by: shape `(active terms,)` as from `counts`, or
                one number for all. `None` counts this batch alone, which makes the loss a mean over it.

        Raises:
            ValueError: when a term gives another number of losses than it says there are items.
        """
        active = list(self.named_terms(active_only=True))
        counts = self.counts([batch]) if counts is None else counts
        per_term = counts.to(student.logits.device, torch.float32).clamp_min(1).expand(len(active))
        losses = [
            _items(name, term, student, teacher, batch).sum() / count
            for (name, term), count in zip(active, per_term, strict=True)
        ]
        total = sum(self.weight(name) * loss for (name, _), loss in zip(active, losses, strict=True))
        if not any(term.logits_only for _, term in active):
            # Where no term reads the logits the ranks would wait for the gradient of the head.
            total = total + 0.0 * student.logits.reshape(-1)[:1].sum()
        names = [_log_name(name, term) for name, term in active]
        return Loss(total, {name: loss.detach() for name, loss in zip(names, losses, strict=True)})

    def describe(self) -> list[dict[str, Any]]:
        """Each term's name, weight, class, settings and citation, for logs and model cards."""
        return [
            {
                "name": name,
                "weight": self.weights[name],
                "term": type(term).__name__,
                **term.config(),
                "citation": term.citation,
            }
            for name, term in self.named_terms()
        ]

    @classmethod
    def from_settings(
        cls, weights: Mapping[str, Weight], settings: Mapping[str, Any], problem_type: str | None = None
    ) -> Objective:
        """The objective of the terms of these names and weights; `settings` as for `Term.from_settings`."""
        kinds = SPEECH_TERMS if "blank" in settings else TERMS
        terms = {name: kinds[name].from_settings(settings, problem_type) for name in weights}
        return cls({name: (weight, terms[name]) for name, weight in weights.items()})


def term_words(terms: str | Mapping[str, float] | Iterable[str]) -> list[str]:
    """Terms as `name:weight` words, from words, from one text of them, or from weights by name."""
    if isinstance(terms, Mapping):
        return [f"{name}:{weight}" for name, weight in terms.items()]
    return terms.split() if isinstance(terms, str) else list(terms)


def parse_terms(words: str | Mapping[str, float] | Iterable[str]) -> dict[str, float]:
    """Reads `["labels:0.3", "soft_targets"]`, where a missing weight is 1; see `term_words`.

    Raises:
        ValueError: for an unknown or repeated term, listing those there are, or a weight that is not a number.
    """
    weights: dict[str, float] = {}
    for word in term_words(words):
        name, _, weight = word.partition(":")
        if name not in TERMS:
            listing = "\n".join(f"  {term.name}: {_first_line(term)}" for term in TERMS.values())
            raise ValueError(f"--terms: {name!r} is unknown; the terms are\n{listing}")
        if name in weights:
            raise ValueError(f"--terms: {name!r} is named twice.")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            raise ValueError(f"--terms: {word!r} should read {name}:WEIGHT with a number, as in {name}:0.5.") from None
        check_number(f"the weight of {name!r}", weights[name], WEIGHT)
    return weights


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _first_line(term: type[Term]) -> str:
    return (term.__doc__ or "").strip().splitlines()[0]


def _log_name(name: str, term: Term) -> str:
    # Only under the term's own name: two terms of one class would share their place in the logs.
    return term.log_name if term.log_name and name == term.name else f"{name}_loss"


def _check_terms(terms: object) -> None:
    given = terms.values() if isinstance(terms, Mapping) else [terms]
    for one in given:
        if not (isinstance(one, (tuple, list)) and len(one) == 2 and isinstance(one[1], Term)):
            raise TypeError(
                f"an Objective takes a weight and a Term under each name, as in {{'labels': (0.3, Labels())}}, got "
                f"{terms!r}; words such as labels:0.3 are for the training arguments' terms."
            )


def _checked_weight(name: str, weight: Weight) -> Weight:
    numbers = (weight.start, weight.end) if isinstance(weight, Schedule) else (weight,)
    for number in numbers:
        check_number(f"the weight of {name!r}", number, WEIGHT)
    return weight


def _valid(term: Term, batch: Batch) -> Tensor:
    """The term's items that count, in rows that count."""
    valid = term.valid(batch)
    if COUNTED_ROWS not in batch:
        return valid
    return valid & batch[COUNTED_ROWS].view(-1, *[1] * (valid.dim() - 1))


def _items(name: str, term: Term, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
    """The term's loss for each item, 0 for those that do not count."""
    with torch.autocast(
        student.logits.device.type, enabled=False
    ):  # or products of matrices would be in half precision
        valid, losses = _valid(term, batch), term(student, teacher, batch)
    if losses.shape != valid.shape:
        raise ValueError(
            f"the term {name!r} gives losses of shape {tuple(losses.shape)} for items of shape {tuple(valid.shape)}: "
            "`forward` must return one loss for each item of `valid`, not their mean."
        )
    return losses.masked_fill(~valid, 0.0)


def row_sums(
    objective: Objective, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Each row's summed loss and number of items for every term, for exact means over an evaluation set.

    Terms of weight 0 are included; a term that needs a teacher counts nothing when there is none.

    Returns:
        Two tensors of shape `(rows, terms)`.
    """
    rows = len(student.logits)
    sums, counts = [], []
    for name, term in objective.named_terms():
        valid = _valid(term, batch).view(rows, -1)
        silent = term.uses_teacher and (teacher is None or not term.outputs <= teacher.available)
        silent |= objective.weights[name] == 0 and bool(term.outputs)  # such a term is not bound to the models
        items = torch.zeros_like(valid) if silent else _items(name, term, student, teacher, batch).view(rows, -1)
        sums.append(items.sum(1).float())
        counts.append(torch.zeros_like(sums[-1]) if silent else valid.sum(1).float())
    return torch.stack(sums, 1), torch.stack(counts, 1)
