"""Ready sizes of students: a shape, and the training that does well by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from hfdistill.models.families import size_in
from hfdistill.report.terminal import print_main
from hfdistill.report.timing import Job, interleaved
from hfdistill.students.layers import choose_layers, smaller_config
from hfdistill.students.widths import choose_widths

#: Tokens of the text that is timed.
TEXT_LENGTH = 32

#: So many texts a student reads in training at least, the same ones again where there are fewer, and three epochs while
#: that is no more than its size's `most_texts`.
TEXTS_READ = 200_000

#: What of a size is the student's shape; the rest are training arguments.
SHAPE = ("student_num_hidden_layers", "student_hidden_size", "student_vocab_size")


@dataclass(frozen=True)
class Size:
    """A student's shape and the training arguments that go with it; `docs/results.md` has what each of them gave.

    A small student needs many steps at a high learning rate, and so many steps need many texts.
    """

    student_num_hidden_layers: int
    student_hidden_size: int
    student_vocab_size: int
    learning_rate: float
    #: Beyond so many texts no text is read again; what is smaller learns more slowly, and at less cost.
    most_texts: int = 1_000_000
    #: None, which would cost a third of the time: a student this small learns nothing by heart.
    student_dropout: float = 0.0
    #: Counted by the texts there are: see `settle_epochs`.
    num_train_epochs: float = 0
    per_device_train_batch_size: int = 128
    #: Ten times in a training: an epoch of a million texts is too much to lose.
    eval_strategy: str = "steps"
    eval_steps: float = 0.1
    save_strategy: str = "steps"
    save_steps: float = 0.1

    def within(self, config: PreTrainedConfig) -> dict[str, int | None]:
        """The shape, by its options, of a student of this teacher; `None` where it keeps all that the teacher has."""
        width, tokens = size_in(config, "width") or 0, config.get_text_config().vocab_size
        # Of layers the number: without one a student has half of them.
        layers = min(self.student_num_hidden_layers, size_in(config, "layers") or self.student_num_hidden_layers)
        pairs = zip(SHAPE[1:], (width, tokens), strict=True)
        fewer = {name: getattr(self, name) if getattr(self, name) < has else None for name, has in pairs}
        return {SHAPE[0]: layers, **fewer}

    def student_of(
        self, teacher: PreTrainedConfig, given: Mapping[str, int], trust_remote_code: bool = False
    ) -> PreTrainedModel:
        """A student of this size, or of what is given instead, of such a teacher; without weights (`meta`).

        Args:
            teacher: The teacher's config.
            given: What of `SHAPE` is the user's.
            trust_remote_code: Whether code that is kept with the teacher is run.

        Raises:
            ValueError: for a shape that the teacher cannot be cut to.
        """
        layers, width, tokens = {**self.within(teacher), **given}.values()
        chosen = choose_layers(size_in(teacher, "layers") or 0, layers)
        widths = None if width is None else choose_widths(teacher, width, None, None)
        config = smaller_config(teacher, {"": chosen}, widths)
        if tokens is not None:
            own: Any = config.get_text_config()
            own.vocab_size = tokens
            own.pad_token_id = min(own.pad_token_id or 0, tokens - 1)  # its new number, which costs nothing
        with torch.device("meta"):
            made: PreTrainedModel = AutoModelForSequenceClassification.from_config(
                config, trust_remote_code=trust_remote_code
            )
        return made


#: By name, the largest first.
SIZES = {
    "small": Size(3, 384, 15_000, learning_rate=2e-4),
    "tiny": Size(2, 256, 10_000, learning_rate=5e-4, most_texts=2_000_000),
    "micro": Size(2, 128, 7_500, learning_rate=1e-3, most_texts=2_000_000),
    "nano": Size(2, 64, 7_000, learning_rate=2e-3, most_texts=2_000_000),
}


def size_within(
    teacher: PreTrainedConfig,
    max_parameters: float | None = None,
    max_latency_ms: float | None = None,
    given: Mapping[str, int] | None = None,
    trust_remote_code: bool = False,
) -> str:
    """The name of the largest size of which a student of this teacher costs no more.

    Args:
        teacher: The teacher's config.
        max_parameters: Embeddings included.
        max_latency_ms: For a short text, on this machine; on all processes as the first of them finds it.
        given: What of the shape (`SHAPE`) is the user's, whatever the size.
        trust_remote_code: Whether code that is kept with the teacher is run.

    Raises:
        ValueError: when none is so small, with what the smallest costs.
    """
    given = dict(given or {})
    students = {name: size.student_of(teacher, given, trust_remote_code) for name, size in SIZES.items()}
    found = [_first_within(students, max_parameters, max_latency_ms) if PartialState().is_main_process else None]
    name = broadcast_object_list(found)[0]
    if name:
        return str(name)
    smallest, student = list(students.items())[-1]
    own = " and ".join(f"--{option} {value}" for option, value in given.items())
    raise ValueError(
        f"no size is within the budget: of this teacher the smallest, {smallest}, {f'with {own} ' if own else ''}has "
        f"{student.num_parameters():,} parameters and takes about {latency_ms(student):.1f} ms here. Allow more, or "
        f"give a smaller shape{'' if own else ' of your own'} with --student_num_hidden_layers, --student_hidden_size "
        "and --student_vocab_size in place of the budget."
    )


def latency_ms(student: PreTrainedModel) -> float:
    """Median milliseconds in which a student of such a config reads a short text, on this machine."""
    model = type(student)(student.config).eval().to(PartialState().device)
    text = torch.ones(1, TEXT_LENGTH, dtype=torch.long, device=model.device)
    with torch.inference_mode():
        times = interleaved({"": Job("", lambda _: model(text).logits.cpu())}, rounds=2, each=10, warm_up=3)
    return 1000 * times[""].median


def _first_within(
    students: Mapping[str, PreTrainedModel], max_parameters: float | None, max_latency_ms: float | None
) -> str | None:
    for name, student in students.items():
        fits = max_parameters is None or student.num_parameters() <= max_parameters
        if fits and (max_latency_ms is None or latency_ms(student) <= max_latency_ms):
            return name
    return None


def check_parameters(student: PreTrainedModel, most: float) -> None:
    """Refuses a finished student that has more parameters than are allowed.

    Raises:
        ValueError: with both numbers and what makes it smaller.
    """
    count = student.num_parameters()
    if count > most:
        raise ValueError(
            f"the student has {count:,} parameters, and --max_parameters allows {most:,.0f}: allow more, or give a "
            "smaller --student_hidden_size, --student_num_hidden_layers or --student_vocab_size."
        )


def size_defaults(name: str) -> dict[str, Any]:
    """What a size stands for, by the options' names: defaults for all that is not given."""
    return {option: value for option, value in asdict(SIZES[name]).items() if option != "most_texts"}


def settle_size(options: Any, teacher: PreTrainedConfig) -> None:
    """Takes a size's shape back where the teacher has no more itself; what was given stays.

    Args:
        options: Of the command; their shape is settled.
        teacher: The teacher's config.
    """
    size = SIZES[options.size]
    for name, value in size.within(teacher).items():
        if getattr(options, name) == getattr(size, name):
            setattr(options, name, value)


def settle_epochs(args: Any, size: str, texts: int) -> None:
    """Counts a size's epochs, once it is known how many texts there are to train on; what was given stays.

    Where steps are given (`max_steps`) no epochs are told: `Trainer` goes by the steps alone.
    """
    if args.max_steps <= 0 and args.num_train_epochs == SIZES[size].num_train_epochs:
        wanted, most = max(3, round(TEXTS_READ / texts)), max(1, round(SIZES[size].most_texts / texts))
        args.num_train_epochs = float(min(wanted, most))
        print_main(f"Epochs: {args.num_train_epochs:g}, of {texts:,} texts.")


def size_in_words(options: Any, args: Any) -> str:
    """What a size has become, for the terminal, and what else it takes."""
    layers, width, tokens = (f"{value:,}" if (value := getattr(options, name)) else "all" for name in SHAPE)
    counted = args.num_train_epochs == SIZES[options.size].num_train_epochs
    epochs = "epochs: by the number of texts" if counted else f"epochs: {args.num_train_epochs:g}"
    length = f"steps: {args.max_steps:,}" if args.max_steps > 0 else epochs
    words = (
        f"Size {options.size}: {layers} layer{'s' * (layers != '1')} of {width} hidden dimensions, {tokens} "
        f"tokens; batch: {args.per_device_train_batch_size}, learning rate: {args.learning_rate:g}, {length}."
    )
    more = (
        " Unlabeled texts of its domain (--unlabeled_file) are what a student of this size gains most from; where "
        "there are none, --augment masking n_grams makes some."
    )
    return words if options.unlabeled_file or options.augment else words + more


def teacher_training(size: str | None, args: Any) -> dict[str, Any]:
    """The training arguments of a teacher that is fine-tuned first: the usual ones where a size set the student's."""
    given = size_defaults(size) if size else {}
    usual = {field.name: field.default for field in fields(args)}
    return {name: usual[name] for name, value in given.items() if name in usual and getattr(args, name) == value}
