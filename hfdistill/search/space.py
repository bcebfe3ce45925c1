"""What a search chooses from, and what a student may cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from hfdistill.training.ranges import Range, check_numbers

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

#: What of a trial's values is a student's shape, for `make_student`; the others are training arguments.
SHAPE = ("num_hidden_layers", "layers", "hidden_size")


@dataclass(frozen=True)
class Budget:
    """What a student may cost at most.

    Args:
        max_parameters: Its parameters, embeddings included.
        max_latency_ms: Median milliseconds for one text, on this machine.

    Raises:
        ValueError: for a cost that is not a finite number greater than 0.
    """

    max_parameters: float | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        check_numbers(self, dict.fromkeys(("max_parameters", "max_latency_ms"), Range(0, ends="(]")))

    def excess(self, parameters: int, latency_ms: float) -> str:
        """What exceeds the budget, in words; empty when nothing does."""
        if self.max_parameters is not None and parameters > self.max_parameters:
            return f"{parameters:,} parameters, over {self.max_parameters:,.0f}"
        if self.max_latency_ms is not None and latency_ms > self.max_latency_ms:
            return f"{latency_ms:.2f} ms for one text, over {self.max_latency_ms:g}"
        return ""


def search_space(teacher: PreTrainedModel, fixed: Sequence[str] = ()) -> dict[str, BaseDistribution]:
    """The ready space: temperature, alpha, divergence and learning rate; number, choice and width of layers.

    Args:
        teacher: The teacher that students are made of.
        fixed: Names of what is not to be searched.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space: dict[str, BaseDistribution] = {
        "temperature": FloatDistribution(1.0, 8.0, log=True),
        "alpha": FloatDistribution(0.1, 0.95),
        "divergence": CategoricalDistribution(("forward_kl", "reverse_kl", "js")),
        "learning_rate": FloatDistribution(1e-5, 3e-4, log=True),
        "num_hidden_layers": IntDistribution(1, max(1, teacher.config.num_hidden_layers - 1)),
        "layers": CategoricalDistribution(("uniform", "first", "last")),
        "hidden_size": CategoricalDistribution(_widths(teacher)),
    }
    return {name: distribution for name, distribution in space.items() if name not in fixed}


def _widths(teacher: PreTrainedModel) -> tuple[int, ...]:
    """The teacher's width, and three, two and one quarters of it where its heads can be divided so."""
    width, heads = teacher.config.hidden_size, teacher.config.num_attention_heads
    return tuple(width * part // 4 for part in (4, 3, 2, 1) if heads * part % 4 == 0)


def parse_count(text: str | None) -> float | None:
    """Reads a number such as `66000000`, `66M` or `0.5B`; nothing where there is none.

    Raises:
        ValueError: for anything else.
    """
    if text is None:
        return None
    read = re.fullmatch(r"(\d+\.?\d*(?:e\+?\d+)?)([KMB]?)", text, re.IGNORECASE | re.ASCII)
    if read is None:
        raise ValueError(f"max_parameters: {text!r} should be a number, such as 5M or 500K.")
    return float(read[1]) * {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}[read[2].upper()]
