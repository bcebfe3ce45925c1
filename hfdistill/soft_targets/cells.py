"""Reading one row's probabilities, however they were written: numbers in order, by label, votes, an API's tokens."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfdistill.data.shortening import shortened
from hfdistill.models.labels import some_names
from hfdistill.soft_targets.annotators import NO_VOTE

#: Where an API's answer keeps the tokens of its first position, from the outside in.
_WITHIN = ("response", "body", "choices", "logprobs", "content", "top_logprobs")
#: How far a row's probabilities may be from 1; or half of the step that they were rounded to for each label.
TOLERANCE, STEPS = 0.01, (0.01, 0.001)


@dataclass(frozen=True)
class LabelNames:
    """The labels by their names and words.

    Args:
        names: The labels in their order; none where numbers are in the order of outputs without names.
        words: What else stands for a label, by its name.
    """

    names: Sequence[str]
    words: Mapping[str, Sequence[str]]

    def place(self, name: Any) -> int:
        """The number of the label that is called so, whatever the case.

        Raises:
            ValueError: when there is none.
        """
        found = self._places(str(name).strip(), exactly=True)
        if len(found) == 1:
            return found.pop()
        if found:
            raise ValueError(
                f"names the label {shortened(str(name))}, and of the labels {some_names(self.names)} {len(found)} are "
                "called so: tell them apart by more than their case"
            )
        close = difflib.get_close_matches(str(name), self.names, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"names the label {shortened(str(name))}{hint}, and the labels are {some_names(self.names)}")

    def place_of_token(self, token: str) -> int | None:
        """The number of the only label that a token is, or that it begins; `None` where there is none."""
        found = self.places_of_token(token)
        return found.pop() if len(found) == 1 else None

    def places_of_token(self, token: str) -> set[int]:
        """The numbers of the labels that a token is, or else of those that it begins."""
        written = token.strip()
        return self._places(written, exactly=True) or (self._places(written, exactly=False) if written else set())

    def within_another(self) -> tuple[str, str] | None:
        """A label's word that begins another's: a token does not tell which of them it is."""
        words = [(place, word) for place, name in enumerate(self.names) for word in (name, *self.words.get(name, ()))]
        pairs = ((one, other) for one in words for other in words if one[0] != other[0])
        found = ((one, other) for (_, one), (_, other) in pairs if other.casefold().startswith(one.casefold()))
        return next(found, None)

    def _places(self, written: str, exactly: bool) -> set[int]:
        fold = written.casefold()
        return {
            place
            for place, name in enumerate(self.names)
            for word in (name, *self.words.get(name, ()))
            if (word.strip().casefold() == fold if exactly else word.strip().casefold().startswith(fold))
        }


def plain(cell: Any) -> Any:
    """A cell, parsed where it is JSON within a text, as in CSV.

    Raises:
        ValueError: for an empty cell, or a text that begins as JSON does and is none.
    """
    if cell is None or cell == "":
        raise ValueError("is empty: filter such rows out")
    if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(cell)
        except json.JSONDecodeError as error:
            raise ValueError(f"is no JSON ({error})") from None
    return cell.tolist() if isinstance(cell, np.ndarray) else cell


def label_names_in(cell: Any) -> list[str]:
    """The labels that a cell names, as numbers by label, as labels with scores, or as votes."""
    pairs = _pairs(cell)
    if pairs is not None:
        return [str(one["label"]) for one in pairs]
    if isinstance(cell, Mapping):
        return [str(name) for name, value in cell.items() if value is not None]
    return [one for one in (cell if isinstance(cell, list) else [cell]) if isinstance(one, str) and one]


def _pairs(cell: Any) -> list[Mapping[str, Any]] | None:
    """Labels with scores, as a pipeline gives them."""
    some = cell if isinstance(cell, list) else [cell]
    found = [one for one in some if isinstance(one, Mapping) and one.keys() == {"label", "score"}]
    return found if found and len(found) == len(some) else None


def numbers_of(cell: Any, labels: LabelNames) -> np.ndarray:
    """The numbers of all labels, NaN where the cell has none: of a list, of a dict by label, of label and score.

    Raises:
        ValueError: for unknown labels, a list of another length, or what is no number.
    """
    pairs = _pairs(cell)
    if pairs is not None or isinstance(cell, Mapping):
        numbers = np.full(len(labels.names), np.nan)
        for name, value in cell.items() if pairs is None else ((one["label"], one["score"]) for one in pairs):
            if value is None:  # Arrow keeps a hole for each label of another row
                continue
            place = labels.place(name)
            if not np.isnan(numbers[place]):
                raise ValueError(f"has two numbers for the label {labels.names[place]!r}: add them, or keep one")
            numbers[place] = _number(value)
        return numbers
    if not isinstance(cell, list) or len(cell) != len(labels.names):
        found = f"{len(cell)} numbers" if isinstance(cell, list) else shortened(cell)
        raise ValueError(f"holds {found}, and there are {len(labels.names)} labels ({some_names(labels.names)})")
    return np.array([_number(one) for one in cell])


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"holds {shortened(value)}, which is no number") from None
    if math.isnan(number):
        raise ValueError("holds NaN: filter such rows out")
    return number


def probabilities_of(numbers: np.ndarray, labels: LabelNames, logarithms: bool) -> np.ndarray:
    """The probabilities of all labels, NaN where none is given, checked one by one.

    Raises:
        ValueError: for a number that is no probability, or no logarithm of one.
    """
    known = np.nan_to_num(numbers, nan=0.0 if logarithms else 0.5)
    lowest, highest = (
        f"holds {known[place]:g} for {labels.names[place]!r}" for place in (known.argmin(), known.argmax())
    )
    if logarithms:
        if known.max() > 1e-6:
            raise ValueError(f"{highest}, which is above 0 and so the logarithm of no probability")
        return np.exp(numbers)
    if known.min() < 0:
        raise ValueError(f"{lowest}, and no probability is negative (log_probabilities are another kind)")
    if known.max() > 1 + 1e-6:
        raise ValueError(f"{highest}, and no probability is above 1")
    return numbers


def spread(probabilities: np.ndarray) -> tuple[np.ndarray, float]:
    """A whole distribution, and the mass that no label was given: it is spread evenly over the labels left out.

    `p_k = (1 − Σ_given p) / number left out` for a label that is left out.

    Raises:
        ValueError: where the sum is above 1, or below though no label was left out.
    """
    left_out = np.isnan(probabilities)
    total, tolerance = float(np.nansum(probabilities)), _tolerance(probabilities)
    missing = 1 - total
    if missing < -tolerance or (not left_out.any() and missing > tolerance) or total == 0:
        raise ValueError(f"holds probabilities whose sum is {total:.4g}, not 1")
    if not left_out.any():
        return probabilities / total, 0.0
    missing = max(missing, 0.0)
    whole = np.where(left_out, missing / left_out.sum(), probabilities)
    return whole / whole.sum(), missing


def _tolerance(probabilities: np.ndarray) -> float:
    """How far their sum may be from 1, by how many digits they were rounded to."""
    given = probabilities[~np.isnan(probabilities)]
    step = next((one for one in STEPS if np.abs(given / one - np.round(given / one)).max(initial=0) < 1e-3), 0.0)
    return max(TOLERANCE, step / 2 * len(given))


def voted(cell: Any, labels: LabelNames, smoothing: float) -> np.ndarray:
    """The distribution of votes: `(n_k + s) / (N + K · s)` of `N` votes, `n_k` of them for a label.

    Args:
        cell: A label, or a list of labels; `None` among them has not voted.
        labels: The `K` labels.
        smoothing: `s`.

    Raises:
        ValueError: for an unknown label, or where nobody voted.
    """
    votes = [vote for vote in (cell if isinstance(cell, list) else [cell]) if vote not in (None, "")]
    if not votes:
        raise ValueError("holds no vote: filter such rows out")
    counts = np.full(len(labels.names), smoothing)
    for vote in votes:
        counts[_class(vote, labels)] += 1
    return counts / counts.sum()


def votes_of(cell: Any, labels: LabelNames) -> list[int]:
    """The number of the label that each annotator says, in their order, `NO_VOTE` of one who has not voted.

    Raises:
        ValueError: for an unknown label, or where nobody voted.
    """
    votes = cell if isinstance(cell, list) else [cell]
    found = [NO_VOTE if vote in (None, "") else _class(vote, labels) for vote in votes]
    if {*found} <= {NO_VOTE}:
        raise ValueError("holds no vote: filter such rows out")
    return found


def _class(vote: Any, labels: LabelNames) -> int:
    number = isinstance(vote, int) and not isinstance(vote, bool)
    return vote if number and 0 <= vote < len(labels.names) else labels.place(vote)


def of_tokens(cell: Any, labels: LabelNames) -> np.ndarray:
    """The distribution of labels by an API's likeliest tokens at the first position that is no space.

    The probabilities of all tokens that are a label's word, or begin it alone, are summed and normalized. A label of
    none of them gets the mass that all tokens leave, evenly, and no more than the least likely of the tokens has.

    Raises:
        ValueError: for an answer without such tokens, or whose likeliest token is no label's.
    """
    tokens = _top_tokens(cell)
    if not tokens:
        raise ValueError("holds no top_logprobs: ask the API for them (logprobs=true, top_logprobs=20)")
    chances = {token: float(np.exp(min(_number(score), 0.0))) for token, score in tokens.items()}
    likeliest = max(chances, key=chances.__getitem__)
    several = labels.places_of_token(likeliest)
    if len(several) > 1:
        raise ValueError(
            f"answers with {shortened(likeliest)}, which begins {some_names([labels.names[one] for one in several])}: "
            "ask for words that begin otherwise, such as A and B, and name them with words={label: [...]}"
        )
    if not several:
        raise ValueError(
            f"answers with {shortened(likeliest)}, which none of the labels {some_names(labels.names)} begins with: "
            "filter such rows out, or name that word with words={label: [...]}"
        )
    found = np.zeros(len(labels.names))
    for token, chance in chances.items():
        place = labels.place_of_token(token)
        if place is not None:
            found[place] += chance
    left_out = found == 0
    if left_out.any():
        rest = max(1 - sum(chances.values()), 0.0)
        found[left_out] = min(rest / left_out.sum(), min(chances.values()))
    return found / found.sum()


def _top_tokens(cell: Any) -> dict[str, Any]:
    """The likeliest tokens and their log-probabilities, wherever in an answer they are."""
    if isinstance(cell, Mapping):
        within = next((cell[name] for name in _WITHIN if cell.get(name) is not None), None)
        if within is not None:
            return _top_tokens(within)
        known = "token" in cell or "message" in cell  # an answer that came without them
        return {} if known else {token: score for token, score in cell.items() if score is not None}
    if not isinstance(cell, list) or not cell:
        return {}
    if all(isinstance(one, Mapping) and "token" in one and "top_logprobs" not in one for one in cell):
        return {one["token"]: one["logprob"] for one in cell}
    return _top_tokens(next((one for one in cell if not _is_space(one)), cell[0]))


def _is_space(position: Any) -> bool:
    return isinstance(position, Mapping) and not str(position.get("token", "a")).strip()
