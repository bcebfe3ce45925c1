"""The arguments of distillation: everything `transformers.TrainingArguments` has, and what teacher and student need."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments
from typing_extensions import Self

from hfdistill.losses import DIVERGENCES
from hfdistill.objective import parse_terms
from hfdistill.schedules import SHAPES, Schedule

DTYPES = ("auto", "float32", "float16", "bfloat16")


def _help(text: str, choices: list[str] | None = None) -> dict[str, object]:
    return {"help": text, "choices": choices} if choices else {"help": text}


@dataclass
class DistillationTrainingArguments(TrainingArguments):
    """Arguments of `DistillationTrainer`, beside those of `transformers.TrainingArguments`.

    The loss is `alpha · T² · D(softmax(t/T), softmax(s/T)) + (1 − alpha) · CE(y, softmax(s))`. No default of
    `TrainingArguments` is changed.

    Args:
        temperature: T > 0 of the softmax; higher is softer. 2 was the best of 1, 2, 5, 10 in Hinton et al. 2015,
            table 1.
        temperature_end: T at the last step, when `temperature_schedule` is not constant.
        temperature_schedule: `constant`, `linear` or `cosine`, from `temperature` to `temperature_end`.
        alpha: The weight of the soft targets, in [0, 1]; the labels get 1 − alpha. Half and half as in Hinton et al.
            2015, table 1. With 0 no teacher is needed: plain fine-tuning on the same path.
        alpha_end: alpha at the last step, when `alpha_schedule` is not constant.
        alpha_schedule: `constant`, `linear` or `cosine`, from `alpha` to `alpha_end`.
        label_weight: The labels' weight, in place of 1 − alpha.
        soft_target_weight: The soft targets' weight, in place of alpha.
        divergence: D: `forward_kl`, `reverse_kl`, `js`, `ce`, `mse` (on logits, no temperature) or `tv`.
        js_beta: The teacher's share of the mixture in `js`, in (0, 1).
        standardize_logits: Compare z-scores of the logits (Sun et al. 2024); needs three classes or more.
        terms: The whole objective as `name:weight` words, in place of alpha and the weights.
        teacher_dtype: `auto` keeps the teacher as it is; or the dtype to run it in.
        student_dtype: The dtype the student is trained in; `auto` keeps it as it is. Half-precision weights lose
            small updates: for speed use `bf16` or `fp16`, which keep float32 weights.
        teacher_at_eval: Whether a live teacher is consulted at evaluation, for `eval_soft_target_loss` and
            `eval_agreement`. Stored soft targets cost nothing and are always used.

    Raises:
        ValueError: for a value outside its range, naming the argument.
    """

    # The soft targets
    temperature: float = field(default=2.0, metadata=_help("Temperature T > 0 of the softmax; higher is softer."))
    temperature_end: float | None = field(default=None, metadata=_help("Temperature at the last step."))
    temperature_schedule: str = field(
        default="constant", metadata=_help("How temperature goes to temperature_end.", list(SHAPES))
    )
    alpha: float = field(default=0.5, metadata=_help("Weight of the soft targets in [0, 1]; the labels get 1 - alpha."))
    alpha_end: float | None = field(default=None, metadata=_help("Alpha at the last step."))
    alpha_schedule: str = field(default="constant", metadata=_help("How alpha goes to alpha_end.", list(SHAPES)))
    label_weight: float | None = field(default=None, metadata=_help("Weight of the labels, in place of 1 - alpha."))
    soft_target_weight: float | None = field(
        default=None, metadata=_help("Weight of the soft targets, in place of alpha.")
    )
    divergence: str = field(
        default="forward_kl", metadata=_help("Divergence of the student from the soft targets.", list(DIVERGENCES))
    )
    js_beta: float = field(default=0.5, metadata=_help("The teacher's share of the mixture in js, in (0, 1)."))
    standardize_logits: bool = field(
        default=False, metadata=_help("Compare z-scores of the logits; needs three classes or more.")
    )
    terms: list[str] | None = field(
        default=None,
        metadata=_help("The whole objective as name:weight words, such as labels:0.3 soft_targets:0.7."),
    )

    # Teacher and student
    teacher_dtype: str = field(default="auto", metadata=_help("Dtype the teacher runs in.", list(DTYPES)))
    student_dtype: str = field(default="float32", metadata=_help("Dtype the student is trained in.", list(DTYPES)))
    teacher_at_eval: bool = field(
        default=True, metadata=_help("Whether a live teacher is consulted at evaluation (it costs its forward pass).")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # A search casts a trial's value to the type of the default: an int here would turn 2.7 into 2.
        for name in ("temperature", "alpha", "js_beta"):
            setattr(self, name, float(getattr(self, name)))
        self.check_ranges()

    def check_ranges(self) -> None:
        """Refuses values that no formula allows; called again when training starts, for values set since.

        Raises:
            ValueError: naming the argument, its value and its range.
        """
        for name in ("temperature", "temperature_end"):
            self._check(
                name,
                lambda value: 0 < value < float("inf"),
                "a finite number greater than 0 (1 leaves the teacher's answer as it is)",
            )
        for name in ("alpha", "alpha_end"):
            self._check(
                name, lambda value: 0 <= value <= 1, "in [0, 1]; label_weight and soft_target_weight need not be"
            )
        for name in ("label_weight", "soft_target_weight"):
            self._check(name, lambda value: 0 <= value < float("inf"), "a finite number of at least 0")
        self._check("js_beta", lambda value: 0 < value < 1, "strictly between 0 and 1; the ends are the two KLs")
        self._check("divergence", DIVERGENCES.__contains__, f"one of {', '.join(DIVERGENCES)}")
        for name in ("teacher_dtype", "student_dtype"):
            self._check(name, DTYPES.__contains__, f"one of {', '.join(DTYPES)}")
        for name in ("temperature", "alpha"):
            self._check_schedule(name)
        if self.terms:
            parse_terms(self.terms)
        elif all(weight == 0 for weight in self.response_weights.values()):
            raise ValueError("label_weight and soft_target_weight are both 0: there is nothing to learn from.")

    def _check(self, name: str, allowed: Callable[[Any], bool], range_: str) -> None:
        value = getattr(self, name)
        if value is not None and not allowed(value):
            raise ValueError(f"{name} must be {range_}; got {value}.")

    def _check_schedule(self, name: str) -> None:
        shape, end = getattr(self, f"{name}_schedule"), getattr(self, f"{name}_end")
        self._check(f"{name}_schedule", SHAPES.__contains__, f"one of {', '.join(SHAPES)}")
        if shape != "constant" and end is None:
            raise ValueError(f"{name}_schedule {shape!r} needs {name}_end, the value at the last step.")
        if shape == "constant" and end is not None:
            raise ValueError(f"{name}_end {end} has no effect on a constant schedule; choose linear or cosine.")

    def for_labels_only(self, output_dir: str, **changes: Any) -> Self:
        """A copy that trains on labels alone, in a folder of its own: for a teacher, or for a baseline.

        Args:
            output_dir: The folder of that run.
            **changes: Other arguments to change, such as `num_train_epochs`.
        """
        return self.elsewhere(output_dir, **{"terms": ["labels"], **changes})

    def elsewhere(self, output_dir: str, **changes: Any) -> Self:
        """A copy for another run: in a folder of its own, and not pushed.

        Args:
            output_dir: The folder of that run.
            **changes: Other arguments to change.
        """
        other = copy.copy(self)
        for name, value in {"output_dir": output_dir, "push_to_hub": False, **changes}.items():
            setattr(other, name, value)
        return other

    def __getstate__(self) -> dict[str, Any]:
        # `Trainer` pickles its arguments into training_args.bin, and pushes that for everybody to read.
        return {**vars(self), "hub_token": None}

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    @property
    def objective_settings(self) -> tuple[object, ...]:
        """All that an objective is built from: when it is another, so is the objective."""
        weights = (*(self.terms or ()), *self.response_weights.items(), self.label_smoothing_factor)
        return weights, self.temperature_over_time, self.divergence, self.js_beta, self.standardize_logits

    @property
    def temperature_over_time(self) -> float | Schedule:
        """The temperature: a number, or a schedule of it."""
        if self.temperature_end is None:
            return self.temperature
        return Schedule(self.temperature, self.temperature_end, self.temperature_schedule)

    @property
    def response_weights(self) -> dict[str, float | Schedule]:
        """The weights of labels and soft targets, as alpha or the two weights give them."""
        start, end, shape = self.alpha, self.alpha_end, self.alpha_schedule
        # Rounded, or the card of alpha 0.9 would speak of 0.09999999999999998.
        weights: dict[str, float | Schedule] = {"labels": round(1 - start, 12), "soft_targets": start}
        if end is not None:
            weights = {"labels": Schedule(1 - start, 1 - end, shape), "soft_targets": Schedule(start, end, shape)}
        if self.label_weight is not None:
            weights["labels"] = self.label_weight
        if self.soft_target_weight is not None:
            weights["soft_targets"] = self.soft_target_weight
        return weights
