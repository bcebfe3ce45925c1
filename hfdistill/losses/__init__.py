"""The terms an objective is made of, by the names that `--terms` knows."""

from hfdistill.losses.base import Batch, StudentOutput, Term
from hfdistill.losses.divergences import DIVERGENCES
from hfdistill.losses.response import (
    IGNORED,
    DecoupledSoftTargets,
    Labels,
    SoftTargets,
    has_token_labels,
    infer_problem_type,
    labelled,
)

TERMS: dict[str, type[Term]] = {term.name: term for term in (Labels, SoftTargets, DecoupledSoftTargets)}

__all__ = [
    "DIVERGENCES",
    "IGNORED",
    "TERMS",
    "Batch",
    "DecoupledSoftTargets",
    "Labels",
    "SoftTargets",
    "StudentOutput",
    "Term",
    "has_token_labels",
    "infer_problem_type",
    "labelled",
]
