"""The terms an objective is made of, by the names that `--terms` knows."""

from hfdistill.losses.base import Batch, StudentOutput, Term
from hfdistill.losses.divergences import DIVERGENCES
from hfdistill.losses.response import DecoupledSoftTargets, Labels, SoftTargets, infer_problem_type

TERMS: dict[str, type[Term]] = {term.name: term for term in (Labels, SoftTargets, DecoupledSoftTargets)}

__all__ = [
    "DIVERGENCES",
    "TERMS",
    "Batch",
    "DecoupledSoftTargets",
    "Labels",
    "SoftTargets",
    "StudentOutput",
    "Term",
    "infer_problem_type",
]
