"""The arguments of distillation: everything `transformers.TrainingArguments` has, and what teacher and student need."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import Seq2SeqTrainingArguments, TrainingArguments
from typing_extensions import Self

from hfdistill.losses import DIVERGENCES, HIDDEN_STATE_LOSSES, PROJECTION_INITS, TERMS
from hfdistill.losses.divergences import TEMPERATURE
from hfdistill.losses.layer_maps import parse_layer_map
from hfdistill.losses.schedules import SHAPES, Schedule
from hfdistill.report.local_paths import without_places
from hfdistill.teachers import COMBINATIONS, Combination
from hfdistill.training.objective import Objective, Weight, parse_terms, term_words
from hfdistill.training.ranges import RANGES, check_numbers
from hfdistill.training.stages import STAGE_LEARNING_RATE, Stages, parse_stages

DTYPES = ("auto", "float32", "float16", "bfloat16")

#: alpha where all rows have a label.
EQUAL_PARTS = 0.5

#: Settings that minilm's terms alone read, and what they are where nobody asks for anything else.
_OF_MINILM = {"relation_heads": None, "teacher_layer": -1}


def _help(text: str, choices: list[str] | None = None) -> dict[str, object]:
    return {"help": text, "choices": choices} if choices else {"help": text}


@dataclass
class DistillationTrainingArguments(TrainingArguments):
    """Arguments of `DistillationTrainer`, beside those of `transformers.TrainingArguments`.

    The loss is `alpha · T² · D(softmax(t/T), softmax(s/T)) + (1 − alpha) · CE(y, softmax(s))`. No default of
    `TrainingArguments` is changed.

    Args:
        temperature: T of the softmax, from 0.001 to 1000; higher is softer. 2 was the best of 1, 2, 5, 10 in Hinton et
            al. 2015, table 1.
        temperature_end: T at the last step, when `temperature_schedule` is not constant.
        temperature_schedule: `constant`, `linear` or `cosine`, from `temperature` to `temperature_end`.
        alpha: The weight of the soft targets, in [0, 1]; the labels get 1 − alpha. With 0 no teacher is needed: plain
            fine-tuning on the same path. Each is a mean over the rows that have it, so where it is not given it
            depends on the share r of rows that have a label: 1 / (1 + r), by which one label weighs as much as the
            soft targets of one row, as in the sum over cases of Hinton et al. 2015. That is 0.5 where all rows have a
            label, and 0.91 where a tenth has. The trainer settles it when it knows its rows; read before, it is 0.5.
        alpha_end: alpha at the last step, when `alpha_schedule` is not constant.
        alpha_schedule: `constant`, `linear` or `cosine`, from `alpha` to `alpha_end`.
        label_weight: The labels' weight, in place of 1 − alpha. The two weights need not sum to 1: in mutual learning
            both are 1.
        soft_target_weight: The soft targets' weight, in place of alpha.
        divergence: The name of D in `hfdistill.losses.DIVERGENCES`.
        js_beta: The teacher's share of the mixture in `js`, in (0, 1): near 0 it behaves as the forward KL, near 1 as
            the reverse.
        standardize_logits: Compare z-scores of the logits (Sun et al. 2024); needs three classes or more.
        terms: The whole objective as `name:weight` words, or weights by name, in place of alpha and the weights.
        stages: Several objectives, one after the other, such as `"hidden_states:1 minilm:1 epochs=2"` and
            `"labels:0.5 soft_targets:0.5 epochs=3"`: each with its length in epochs or in steps, a learning-rate
            schedule and an optimizer of its own, and `learning_rate=...` where it is another one. They replace
            `terms`, `num_train_epochs` and `max_steps`.
        layer_map: For terms on layers, which teacher layer each student layer learns from: `uniform`, `last`,
            `first`, `learned`, or the number of one for each student layer, from 0.
        hidden_state_loss: For `hidden_states` and `embeddings`: `mse`, or `cosine` for the direction alone.
        projection_init: For `hidden_states`, `embeddings` and `patient`, where the projection between two widths
            starts: `random`, or `least_squares` on the first step's batch.
        relation_heads: For `minilm`: into how many parts both widths are split; by default the largest number up to
            the teacher's heads that divides both.
        teacher_layer: For `minilm` and `minilm_v1`: the number of the teacher's layer that the student's last layer
            learns from, from 0, on either side of an encoder-decoder; -1 is the last, -4 the 21st of 24.
        teacher_dtype: `auto` keeps the teacher as it is; or the dtype to run it in.
        student_dtype: The dtype the student is trained in; `auto` keeps it as it is. Half-precision weights lose
            small updates: for speed use `bf16` or `fp16`, which keep float32 weights.
        teacher_at_eval: Whether a live teacher is run at evaluation, for `eval_soft_target_loss` and
            `eval_agreement`. Stored soft targets cost nothing and are always used.
        teacher_combination: How the predictions of several teachers become one: `probabilities` (their mean), `logits`
            (mean of the logits), `confidence` (confidence-weighted) or `sample` (one of them each step).
        teacher_weights: A weight above 0 for each teacher, in proportion; by default they are equal. `learned_weights`
            finds them from labeled rows.
        labeled_share: The share of rows with a label in every batch, strictly between 0 and 1, for a dataset where many
            rows have none (-100); it takes the place of `train_sampling_strategy`. `None` takes rows as they come.
        max_tokens_per_batch: The most tokens of a batch on a device, padding included: rows of like length, few long
            ones or many short ones; of rows of sound, samples or frames are counted. It takes the place of
            `per_device_train_batch_size` and `train_sampling_strategy`. `None` counts rows.

    Raises:
        ValueError: for a value outside its range, naming the argument.
    """

    # The soft targets
    temperature: float = field(default=TEMPERATURE, metadata=_help("Temperature T of the softmax, 0.001 to 1000."))
    temperature_end: float | None = field(default=None, metadata=_help("Temperature at the last step."))
    temperature_schedule: str = field(
        default="constant", metadata=_help("How temperature goes to temperature_end.", list(SHAPES))
    )
    alpha: float | None = field(
        default=None,
        metadata=_help(
            "Weight of the soft targets in [0, 1]; the labels get 1 - alpha (default: 1 / (1 + the share "
            "of rows with a label), 0.5 where all have one)."
        ),
    )
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
    stages: list[str] | None = field(
        default=None,
        metadata=_help("Objectives one after the other, such as 'hidden_states:1 epochs=2' 'soft_targets:1 epochs=3'."),
    )
    layer_map: list[str] = field(
        default_factory=lambda: ["uniform"],
        metadata=_help("Teacher layers for terms on layers: uniform, last, first, learned, or numbers such as 1 3 5."),
    )
    hidden_state_loss: str = field(
        default="mse", metadata=_help("Distance between hidden states.", list(HIDDEN_STATE_LOSSES))
    )
    projection_init: str = field(
        default="random", metadata=_help("Where projections of hidden states start.", list(PROJECTION_INITS))
    )
    relation_heads: int | None = field(default=None, metadata=_help("Relation heads of minilm."))
    teacher_layer: int = field(
        default=-1, metadata=_help("Teacher layer that minilm and minilm_v1 learn from, from 0; -1 is the last.")
    )

    # Teacher and student
    teacher_dtype: str = field(default="auto", metadata=_help("Dtype the teacher runs in.", list(DTYPES)))
    student_dtype: str = field(default="float32", metadata=_help("Dtype the student is trained in.", list(DTYPES)))
    teacher_at_eval: bool = field(
        default=True, metadata=_help("Whether a live teacher is run at evaluation (it costs its forward pass).")
    )
    teacher_combination: str = field(
        default="probabilities", metadata=_help("How several teachers' predictions become one.", list(COMBINATIONS))
    )
    teacher_weights: list[float] | None = field(
        default=None, metadata=_help("A weight above 0 for each teacher, in proportion (default: equal).")
    )
    labeled_share: float | None = field(
        default=None, metadata=_help("Share of rows with a label in every batch, where many rows have none.")
    )
    max_tokens_per_batch: int | None = field(
        default=None,
        metadata=_help("Most tokens of a batch, padding included, in place of the batch size: rows of like length."),
    )

    def __post_init__(self) -> None:
        check_numbers(self, RANGES)  # first: transformers would meet them before `check_ranges` does
        super().__post_init__()
        # A search casts a trial's value to the type of the default: an int here would turn 2.7 into 2.
        for name in ("temperature", "js_beta"):
            setattr(self, name, float(getattr(self, name)))
        self.terms = None if self.terms is None else term_words(self.terms)
        self.stages = [self.stages] if isinstance(self.stages, str) else self.stages
        self.check_ranges()
        self._check_best_model()
        self._fit_to_stages()

    def __setattr__(self, name: str, value: Any) -> None:
        # Whoever sets alpha, be it a search, gives it; it is a number all the same, to be read and cast by.
        if name == "alpha":
            vars(self)["_alpha_is_given"] = value is not None
            value = EQUAL_PARTS if value is None else float(value)
        super().__setattr__(name, value)

    @property
    def alpha_is_given(self) -> bool:
        """Whether somebody chose alpha, or it follows from the share of rows that have a label."""
        return vars(self).get("_alpha_is_given", True)

    def settle_alpha(self, labeled: float) -> None:
        """Where alpha is not given: makes one label weigh as much as the soft targets of one row.

        Args:
            labeled: The share of training rows that have a label, in [0, 1].
        """
        if not self.alpha_is_given:
            vars(self)["alpha"] = round(1 / (1 + labeled), 12)

    @property
    def weighs_by_alpha(self) -> bool:
        """Whether alpha says how much labels and soft targets weigh, and nothing else does."""
        return not (self.stages or self.terms) and (self.label_weight, self.soft_target_weight) == (None, None)

    def check_ranges(self) -> None:
        """Refuses values that no formula allows; called again when training starts, for values set since.

        Raises:
            ValueError: naming the argument, its value and its range.
        """
        check_numbers(self, RANGES)
        self._check("divergence", DIVERGENCES.__contains__, f"one of {', '.join(DIVERGENCES)}")
        for name in ("teacher_dtype", "student_dtype"):
            self._check(name, DTYPES.__contains__, f"one of {', '.join(DTYPES)}")
        for name in ("temperature", "alpha"):
            self._check_schedule(name)
        self.combination  # noqa: B018 (refuses what it cannot be made of)
        parse_layer_map(self.layer_map)
        self._check("hidden_state_loss", HIDDEN_STATE_LOSSES.__contains__, f"one of {', '.join(HIDDEN_STATE_LOSSES)}")
        self._check("projection_init", PROJECTION_INITS.__contains__, f"one of {', '.join(PROJECTION_INITS)}")
        if self.stages:
            parse_stages(self.stages)
            if self.learning_rate not in STAGE_LEARNING_RATE:
                raise ValueError(f"with stages learning_rate must be {STAGE_LEARNING_RATE}; got {self.learning_rate}.")
        elif self.terms:
            parse_terms(self.terms)
        elif all(weight == 0 for weight in self.response_weights.values()):
            raise ValueError("label_weight and soft_target_weight are both 0: there is nothing to learn from.")

    def _check(self, name: str, allowed: Callable[[Any], bool], range_: str) -> None:
        value = getattr(self, name)
        if value is not None and not allowed(value):
            raise ValueError(f"{name} must be {range_}; got {value}.")

    def _check_best_model(self) -> None:
        """Refuses to choose the best model by losses that mean something else at each point of training."""
        if not (self.load_best_model_at_end and self.metric_for_best_model in ("loss", "eval_loss")):
            return
        weighs_by_alpha = not (self.stages or self.terms)
        changing = {
            "stages": len(parse_stages(self.stages or [])) > 1,
            "temperatures": self.temperature_end is not None,
            "alphas": self.alpha_end is not None and weighs_by_alpha,
        }
        if any(changing.values()):
            found = " or ".join(name for name, changes in changing.items() if changes)
            raise ValueError(
                f"the losses of two {found} cannot be compared: set metric_for_best_model to a metric of the task, "
                "such as accuracy, or leave load_best_model_at_end off."
            )

    def _fit_to_stages(self) -> None:
        """Lets the run be as long as its stages."""
        stages = parse_stages(self.stages or [])
        total = sum(stage.length for stage in stages)
        if stages and stages[0].unit == "epochs":
            self.num_train_epochs = total
        elif stages:
            self.max_steps = int(total)

    def _check_schedule(self, name: str) -> None:
        shape, end = getattr(self, f"{name}_schedule"), getattr(self, f"{name}_end")
        self._check(f"{name}_schedule", SHAPES.__contains__, f"one of {', '.join(SHAPES)}")
        if shape != "constant" and end is None:
            raise ValueError(f"{name}_schedule {shape!r} needs {name}_end, the value at the last step.")
        if shape == "constant" and end is not None:
            raise ValueError(f"{name}_end {end} has no effect on a constant schedule; choose linear or cosine.")

    def for_labels_only(self, output_dir: str, **changes: Any) -> Self:
        """A copy that trains on labels alone, in a folder of its own: for a teacher, or for a baseline.

        Rows without a label would only fill its batches: give it those of `labeled_rows`.

        Args:
            output_dir: The folder of that run.
            **changes: Other arguments to change, such as `num_train_epochs`.
        """
        alone = {"terms": ["labels"], "stages": None, "labeled_share": None, **_OF_MINILM}
        return self.with_output_dir(output_dir, **{**alone, **changes})

    def with_output_dir(self, output_dir: str, **changes: Any) -> Self:
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
        return {**without_places(vars(self)), "hub_token": None}

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = object.__new__(type(self))
        vars(other).update(copy.deepcopy(vars(self), memo))
        return other

    @property
    def objective_settings(self) -> tuple[object, ...]:
        """All that an objective is built from: when it is another, so is the objective."""
        words = (*term_words(self.terms or ()), *self.response_weights.items(), *(self.stages or ()))
        return words, *self.loss_settings.items()

    @property
    def terms_with_weight(self) -> frozenset[str]:
        """The names of the terms that are trained on, of all stages."""
        return frozenset(name for weights, _ in self._objectives for name, weight in weights.items() if weight != 0)

    @property
    def _objectives(self) -> list[tuple[Mapping[str, Weight], float]]:
        """The weights of the terms of each stage, and how long it is; without stages there is one."""
        if self.stages:
            return [(parse_terms(stage.terms), stage.length) for stage in parse_stages(self.stages)]
        return [(parse_terms(self.terms) if self.terms else self.response_weights, 1.0)]

    @property
    def loss_settings(self) -> dict[str, Any]:
        """What terms can be set by, besides their weights: plain values by name, for `Term.from_settings`."""
        plain = ("divergence", "js_beta", "standardize_logits", "label_smoothing_factor", "hidden_state_loss")
        of_layers = ("projection_init", "relation_heads", "teacher_layer")
        settings = {name: getattr(self, name) for name in (*plain, *of_layers)}
        layer_map = parse_layer_map(self.layer_map)
        maps = {"layer_map": layer_map, "decoder_layer_map": layer_map}
        return {**settings, **maps, "temperature": self.temperature_over_time}

    def make_stages(self, problem_type: str | None = None, **of_head: Any) -> Stages:
        """What these arguments describe: an objective for each stage, or a single one.

        Args:
            problem_type: As in the student's `config.problem_type`.
            **of_head: What terms must know of the student's head, see `Head.settings`.

        Raises:
            ValueError: for a setting of terms of which none is trained on.
        """
        read = {setting for name in self.terms_with_weight for setting in TERMS[name].settings.values()}
        idle = [name for name, usual in _OF_MINILM.items() if getattr(self, name) != usual and name not in read]
        if idle:
            raise ValueError(f"{idle[0]} is a setting of minilm, and no such term is trained on: add one, or drop it.")
        each, settings = self._objectives, {**self.loss_settings, **of_head}
        objectives = [Objective.from_settings(weights, settings, problem_type) for weights, _ in each]
        return Stages(objectives, [length for _, length in each])

    @property
    def needs_teacher(self) -> bool:
        """Whether anything is learned from a teacher."""
        return any(TERMS[name].uses_teacher for name in self.terms_with_weight)

    @property
    def teacher_outputs(self) -> frozenset[str]:
        """What the terms need of a teacher beside its logits; where there is any, stored soft targets do not do."""
        return frozenset().union(*(TERMS[name].outputs for name in self.terms_with_weight))

    @property
    def combination(self) -> Combination:
        """How the predictions of several teachers become one."""
        return Combination(self.teacher_combination, self.teacher_weights, self.seed)

    @property
    def temperature_over_time(self) -> float | Schedule:
        """The temperature: a number, or a schedule of it."""
        if self.temperature_end is None:
            return self.temperature
        return Schedule(self.temperature, self.temperature_end, self.temperature_schedule)

    @property
    def response_weights(self) -> dict[str, float | Schedule]:
        """The weights of labels and soft targets, as alpha or the two weights give them."""
        assert self.alpha is not None  # see __setattr__
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


@dataclass
class Seq2SeqDistillationTrainingArguments(DistillationTrainingArguments, Seq2SeqTrainingArguments):
    """Arguments of `Seq2SeqDistillationTrainer`: those of `DistillationTrainingArguments`, for each target token.

    `predict_with_generate` and the other arguments of `transformers.Seq2SeqTrainingArguments` say how the student
    translates at evaluation.

    Args:
        decoder_layer_map: As `layer_map`, for the decoder's layers; default the same.
    """

    decoder_layer_map: list[str] | None = field(
        default=None, metadata=_help("As layer_map, for the decoder's layers (default: the same).")
    )

    def check_ranges(self) -> None:
        super().check_ranges()
        parse_layer_map(self.decoder_layer_map or self.layer_map)

    @property
    def loss_settings(self) -> dict[str, Any]:
        own = parse_layer_map(self.decoder_layer_map or self.layer_map)
        return {**super().loss_settings, "decoder_layer_map": own}
