"""Which numbers an option may be: intervals, and what is said of a number outside of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from hfdistill.data.shortening import shortened

#: Where a whole number without an end of its own ends: beyond it, other libraries overflow.
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Range:
    """An interval of finite numbers; `True` and `False` are none.

    Args:
        low: Its lower end.
        high: Its upper end.
        ends: Which ends belong to it, as in mathematics: `[]`, `[)`, `(]` or `()`.
        whole: Whether it has whole numbers only.
        advice: What else there is to say to whoever is outside.
    """

    low: float = 0
    high: float = math.inf
    ends: str = "[]"
    whole: bool = False
    advice: str = ""

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        number: Any = value
        above = self.low <= number if self.ends[0] == "[" else self.low < number
        below = number <= self._high if self.ends[1] == "]" else number < self._high
        return bool(above and below and number != math.inf)  # NaN is neither above nor below

    @property
    def _high(self) -> float:
        return min(self.high, LARGEST) if self.whole else self.high

    def __str__(self) -> str:
        low, high = _told(self.low), _told(self.high)
        kind = "a whole number" if self.whole else "a finite number"
        if self.high == math.inf:
            text = f"{kind} {'of at least' if self.ends[0] == '[' else 'greater than'} {low}"
        else:
            text = f"{'a whole number' if self.whole else 'a number'} in {self.ends[0]}{low}, {high}{self.ends[1]}"
        return text + self.advice


def _told(number: float) -> str:
    return str(int(number)) if number == int(min(number, LARGEST)) else f"{number:g}"


#: In float32 a loss at T = 1000 is right to some thousandths; far above it is rounding, far below T² leaves nothing.
TEMPERATURE = Range(
    1e-3, 1e3, advice=" (1 leaves the teacher's prediction as it is; --divergence mse is as if infinite)"
)
#: Of a term, or of a teacher among several.
WEIGHT = Range(0, 1e6)
COUNT = Range(1, whole=True)
#: A part of something, none and all included.
SHARE = Range(0, 1)


def check_number(name: str, value: object, allowed: Range) -> None:
    """Refuses a number outside of its range; of a list, each.

    Raises:
        ValueError: naming option, range and value.
    """
    for number in value if isinstance(value, (list, tuple)) else (value,):
        if number not in allowed:
            raise ValueError(f"{name} must be {allowed}; got {shortened(number)}.")


def check_numbers(options: Any, ranges: Mapping[str, Range], prefix: str = "") -> None:
    """Refuses the numbers of a dataclass that are outside of their ranges; `None` is one where it is the default.

    Args:
        options: The dataclass.
        ranges: By name of a field; what is no field of it is passed over.
        prefix: What a field's name has before it in a message, such as `--`.

    Raises:
        ValueError: as `check_number`.
    """
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in ranges and not (value is None and field.default is None):
            check_number(f"{prefix}{field.name}", value, ranges[field.name])


#: Every numeric argument of training, inherited ones too, and which numbers it may be.
RANGES: dict[str, Range] = {
    **dict.fromkeys(("temperature", "temperature_end"), TEMPERATURE),
    **dict.fromkeys(("alpha", "alpha_end"), Range(0, 1, advice="; label_weight and soft_target_weight need not be")),
    **dict.fromkeys(("label_weight", "soft_target_weight"), WEIGHT),
    "js_beta": Range(0, 1, "()", advice="; the ends are the two KLs"),
    "relation_heads": COUNT,
    "teacher_layer": Range(-LARGEST, whole=True),
    "teacher_weights": Range(0, 1e6, "(]"),
    "labeled_share": Range(0, 1, "()"),
    "max_tokens_per_batch": COUNT,
    # Of `TrainingArguments`.
    "learning_rate": Range(0, 1e6),
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size"), COUNT),
    "gradient_accumulation_steps": COUNT,
    "num_train_epochs": Range(0, 1e6),
    "max_steps": Range(-1, whole=True, advice=" (-1: as long as num_train_epochs says)"),
    "warmup_steps": Range(0, 1e9, advice=" (below 1 it is a share of all steps)"),
    "weight_decay": Range(0, 1e6),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), Range(0, 1, "[)")),
    # At 0 a weight without a gradient, such as the embedding of a token that no batch has, becomes NaN.
    "adam_epsilon": Range(1e-30, 1),
    "max_grad_norm": Range(0, advice=" (0 clips nothing)"),
    "label_smoothing_factor": Range(0, 1, "[)"),
    "neftune_noise_alpha": Range(0, 1e6),
    **dict.fromkeys(("logging_steps", "save_steps", "eval_steps", "eval_delay"), Range(0, 1e9)),
    "save_total_limit": Range(-1, whole=True, advice=" (0 keeps all)"),
    **dict.fromkeys(("seed", "data_seed", "dataloader_num_workers"), Range(0, whole=True)),
    **dict.fromkeys(("eval_accumulation_steps", "torch_empty_cache_steps", "dataloader_prefetch_factor"), COUNT),
    **dict.fromkeys(("ddp_bucket_cap_mb", "ddp_timeout", "generation_max_length", "generation_num_beams"), COUNT),
}
