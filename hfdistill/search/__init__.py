"""Searching for a student with Optuna: how it is trained, how many layers it has and which, within a budget."""

from hfdistill.search.space import SHAPE, Budget, parse_count, search_space
from hfdistill.search.study import StudentSearch, check_search
from hfdistill.search.trade_off import Candidate, pareto_front

__all__ = [
    "SHAPE",
    "Budget",
    "Candidate",
    "StudentSearch",
    "check_search",
    "pareto_front",
    "parse_count",
    "search_space",
]
