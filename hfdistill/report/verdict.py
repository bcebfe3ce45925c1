"""What the figures come to: two sentences that anybody understands, and one piece of advice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfdistill.models.families import size_in
from hfdistill.models.wrappers import config_of
from hfdistill.report.figures import Comparison, metric_name

#: Below this a difference is called a gain or a loss.
SIGNIFICANT = 0.05
#: Speeds and sizes as close as this are called equal.
ALIKE = 0.05
#: From this ratio of its quartiles a speedup is called unsteady.
UNSTEADY = 2.0
#: Terms on more than predictions.
LAYER_TERMS = "labels soft_targets minilm"
#: What makes a training longer, by whether it is of so many steps.
LONGER = {False: "more epochs (--num_train_epochs)", True: "more steps (--max_steps)"}


@dataclass(frozen=True)
class Training:
    """What is known of how a student was trained, for advice to go by.

    Args:
        history: Its `trainer.state.log_history`.
        learning_rate: The highest.
        alpha: The weight of the soft targets; `None` where another objective was given.
        unlabeled_rows: How many texts were labeled by the teacher alone.
        narrower: Whether it has fewer hidden dimensions than its teacher.
        shares_tokens: Whether it has its teacher's vocabulary, and can be compared with it token by token.
        has_layer_terms: Whether it learned from intermediate representations.
        longer: What makes its training longer.
        layers: How many layers there are of which it might have fewer, in an encoder-decoder the decoder's.
        layers_option: The option that gives it fewer layers.
        unlabeled_option: The option that brings more texts for its teacher to label; empty where there is none.
    """

    history: Sequence[Mapping[str, Any]] = ()
    learning_rate: float = 0.0
    alpha: float | None = None
    unlabeled_rows: int = 0
    narrower: bool = False
    shares_tokens: bool = True
    has_layer_terms: bool = False
    longer: str = LONGER[False]
    layers: int | None = None
    layers_option: str = "--student_num_hidden_layers"
    unlabeled_option: str = "--unlabeled_file"


def training_of(trainer: Any, teacher: Any, **known: Any) -> Training:
    """What advice can go by, of a trainer.

    Args:
        trainer: The student's.
        teacher: The teacher's model.
        **known: The rest of `Training`.
    """
    args, configs = trainer.args, [config_of(model) for model in (trainer.model, teacher)]
    own = configs[0]
    widths = [getattr(config, "hidden_size", None) or 0 for config in configs]
    vocabularies = [getattr(config, "vocab_size", None) for config in configs]
    return Training(
        history=trainer.state.log_history,
        learning_rate=args.learning_rate,
        alpha=args.alpha if args.weighs_by_alpha else None,
        narrower=widths[0] < widths[1],
        shares_tokens=vocabularies[0] == vocabularies[1],
        has_layer_terms=bool(args.teacher_outputs),
        longer=LONGER[args.max_steps > 0],
        layers=None if own is None else size_in(own, "layers", "decoder" if own.is_encoder_decoder else ""),
        **known,
    )


def verdict(comparison: Comparison) -> str:
    """What the student keeps and costs, and what its teacher was good for: two sentences of plain text."""
    sentences = [_kept_sentence(comparison) if comparison.taught else _untaught_sentence(comparison)]
    return " ".join([*sentences, _gain_sentence(comparison)]).strip()


def _kept_sentence(comparison: Comparison) -> str:
    teacher, student = comparison.models["teacher"], comparison.models["student"]
    speed = _unsteady(student.speedup_quartiles) or _speed(comparison.speedup)
    return f"{_quality(comparison)}, {speed}, {_bytes(student.megabytes / teacher.megabytes)}."


def _quality(comparison: Comparison) -> str:
    teacher, student = (_main(comparison, role) for role in ("teacher", "student"))
    name = metric_name(comparison.main_metric)
    if not comparison.main_metric:
        return "No metric was measured"
    if student >= teacher:
        figures = f"{_points(comparison, student)}, teacher {_points(comparison, teacher)}"
        return f"Keeps all of the teacher's {name} ({figures})"
    if teacher <= 0 or student < 0:
        return f"Has {student:.3f} {name}, where the teacher has {teacher:.3f}"
    share = student / teacher
    return f"Keeps {'only ' if share < 0.9 else ''}{_percent(share)} of the teacher's {name}"


def _speed(speedup: float) -> str:
    if speedup >= 1 + ALIKE:
        return f"{speedup:.1f} times as fast" if speedup >= 1.2 else f"{100 * (speedup - 1):.0f} % faster"
    return "no faster" if speedup > 1 - ALIKE else f"slower: {1 / speedup:.1f} times the latency"


def _unsteady(quartiles: tuple[float, float] | None) -> str:
    """A speedup that was measured on a machine that did much else; empty where it is steady."""
    if quartiles is None or quartiles[1] < UNSTEADY * quartiles[0]:
        return ""
    return f"{quartiles[0]:.1f} to {quartiles[1]:.1f} times as fast (measured on a busy machine)"


def _bytes(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.1 else 1}f} % of its bytes" if share < 1 - ALIKE / 5 else "no smaller"


def _untaught_sentence(comparison: Comparison) -> str:
    student = comparison.models["student"]
    figure = f"{metric_name(comparison.main_metric)} {_points(comparison, _main(comparison, 'student'))}"
    return f"There was no teacher: {figure}, {student.megabytes:.1f} MB, {student.latency_ms:.1f} ms for a text."


def _gain_sentence(comparison: Comparison) -> str:
    """What was gained over the same student without a teacher, or over the first other trained model."""
    if not comparison.main_metric:
        return ""
    others = [role for role, one in comparison.models.items() if role not in ("teacher", "student") and not one.engine]
    if not others:
        return "What the teacher added is not known: --baseline trains the same student without one, too."
    if "baseline" not in others:
        return f"Against {others[0]}: {_difference(comparison, others[0])}."
    alone = "without a teacher" if comparison.taught else "alone"
    return f"Against the same student {alone}: {_difference(comparison, 'baseline')}{_proof(comparison)}."


def _difference(comparison: Comparison, role: str) -> str:
    points = comparison.points * gain(comparison, role)
    unit = (
        metric_name(comparison.main_metric)
        if comparison.points == 1
        else f"points of {metric_name(comparison.main_metric)}"
    )
    return f"{0.0 if abs(points) < 0.05 else points:+.1f} {unit}"


def _proof(comparison: Comparison) -> str:
    if comparison.paired is None:
        return ", not tested"
    p = comparison.paired.p_value
    told = f", p = {p:.2f}" if p >= 0.01 else f", p = {p:.1g}"
    if p >= SIGNIFICANT:
        return f"{told}: no proven {'gain' if gain(comparison, 'baseline') >= 0 else 'loss'}"
    return f"{told}: {'the teacher helped' if gain(comparison, 'baseline') > 0 else 'the teacher did harm'}"


def gain(comparison: Comparison, role: str) -> float:
    """The student's main metric less another model's."""
    return _main(comparison, "student") - _main(comparison, role)


def _main(comparison: Comparison, role: str) -> float:
    return comparison.models[role].metrics.get(comparison.main_metric, float("nan"))


def _points(comparison: Comparison, value: float) -> str:
    return f"{value:.1f}" if comparison.points == 1 else f"{value:.4f}"


def _percent(share: float) -> str:
    # What is lost is not to be rounded away.
    return f"{100 * share:.{1 if share < 0.9995 else 2}f} %"


# ---- Advice ----


def advice(comparison: Comparison, training: Training) -> str:
    """The one thing to try first; empty where the figures suggest none.

    Args:
        comparison: The measured models.
        training: How the student was trained.
    """
    if not comparison.taught or not comparison.main_metric:
        return ""
    suggestions = (rule(comparison, training) for rule in _RULES)
    return next((f"To try first: {suggestion}." for suggestion in suggestions if suggestion), "")


def _better_teacher(comparison: Comparison, training: Training) -> str:
    if "baseline" not in comparison.models or _main(comparison, "teacher") > _main(comparison, "baseline"):
        return ""
    return "a better teacher, as the same student without one does as well as this one"


def _less_of_the_teacher(comparison: Comparison, training: Training) -> str:
    paired, alpha = comparison.paired, training.alpha
    harmed = paired is not None and paired.p_value < SIGNIFICANT and gain(comparison, "baseline") < 0
    return f"a lower --alpha (it was {alpha:.3g})" if harmed and alpha else ""


def _longer(comparison: Comparison, training: Training) -> str:
    losses = [entry["eval_loss"] for entry in training.history if "eval_loss" in entry]
    if _share(comparison) >= 0.99 or len(losses) < 2 or losses[-1] > 0.95 * losses[-2]:
        return ""
    if _share(comparison) < 0.8 and training.learning_rate < 2e-4:
        return f"a higher --learning_rate (it was {training.learning_rate:g}), as for a student that starts untrained"
    return f"{training.longer}, as the loss was still falling when training ended"


def _fewer_layers(comparison: Comparison, training: Training) -> str:
    if training.layers == 1:
        return ""
    if comparison.speedup < 1 + 2 * ALIKE:
        return f"fewer layers ({training.layers_option}), as it is hardly faster than its teacher"
    return (
        f"a smaller student ({training.layers_option}), as this one loses little" if _share(comparison) >= 0.99 else ""
    )


def _layer_terms(comparison: Comparison, training: Training) -> str:
    needed = training.narrower and training.shares_tokens and not training.has_layer_terms
    return f"--terms {LAYER_TERMS}, from which a narrower student learns more" if needed else ""


def _more_of_the_teacher(comparison: Comparison, training: Training) -> str:
    unproven = comparison.paired is not None and comparison.paired.p_value >= SIGNIFICANT
    if unproven and training.alpha is not None and training.alpha < 0.9:
        return f"a higher --alpha (it was {training.alpha:.3g}), for the teacher to count for more"
    return ""


def _more_text(comparison: Comparison, training: Training) -> str:
    option = "" if training.unlabeled_rows else training.unlabeled_option
    return f"more text for the teacher to label ({option})" if option else ""


def _share(comparison: Comparison) -> float:
    teacher = _main(comparison, "teacher")
    return _main(comparison, "student") / teacher if teacher > 0 else 0.0


_RULES: Sequence[Callable[[Comparison, Training], str]] = (
    _better_teacher,
    _less_of_the_teacher,
    _longer,
    _fewer_layers,
    _layer_terms,
    _more_of_the_teacher,
    _more_text,
)
