"""Teachers and students of a task: loaded by name, fine-tuned, cut from one another, or the demo's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from datasets import DatasetDict
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from hfdistill.data.few_labels import labels_only
from hfdistill.report.terminal import begin_stage, print_main, say_if_slow
from hfdistill.students.dropout import set_dropout
from hfdistill.students.factory import make_student
from hfdistill.tasks.demo import DemoModels, demo_tokenizer
from hfdistill.teachers.model import ModelTeacher
from hfdistill.teachers.prompted.verbalized import PromptedForSequenceClassification
from hfdistill.training.arguments import DistillationTrainingArguments
from hfdistill.training.run import train_and_save
from hfdistill.training.trainer import DistillationTrainer


class TaskData(Protocol):
    """What a task's rows say of themselves, for the models that learn them."""

    @property
    def trained_column(self) -> str:
        """The column of `tokenized` rows that says whether they have a label."""

    @property
    def name(self) -> str:
        """What a card calls the rows."""

    @property
    def demo(self) -> bool:
        """Whether they are generated."""

    @property
    def dataset(self) -> DatasetDict:
        """The splits, `train` and `validation` among them."""

    @property
    def text_columns(self) -> tuple[str, ...]:
        """What a teacher reads with its own tokenizer."""

    @property
    def head(self) -> dict[str, Any]:
        """The arguments with which `from_pretrained` gives a model a head for the task."""

    @property
    def metrics(self) -> Any:
        """A trainer's `compute_metrics`."""

    @property
    def demo_models(self) -> DemoModels | None:
        """The models of the demo, where the rows are those."""

    def load(self, name: str, trust_remote_code: bool, **head: Any) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        """A model of the task and its tokenizer, with a new head where one is given."""

    def check_teacher(self, name: str, config: Any) -> None:
        """Refuses a teacher of another task or other labels."""

    def tokenized(self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> DatasetDict:
        """The splits as a trainer reads them."""

    def sample(self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> BatchEncoding:
        """Some training rows as a padded batch, to measure on which parts of a model matter."""


def load_teachers(
    names: str | Sequence[str],
    data: TaskData,
    *,
    train: bool = False,
    count: int = 1,
    seed: int = 42,
    trust_remote_code: bool = False,
) -> list[ModelTeacher]:
    """Load one or several teachers with their tokenizers, and print their size.

    Args:
        names: Names or paths of models. For the demo's data, its small untrained BERT is made, whatever they are.
        data: The texts that they are to predict for.
        train: Whether they will be fine-tuned on the labels (`train_teachers`): each gets a new head where its own
            does not fit.
        count: How many of each, which differ by the seeds of what is initialized.
        seed: The first one's.
        trust_remote_code: Whether code that is kept with a model is run.

    Raises:
        HubUnreachableError, OSError: when a model cannot be had.
        ValueError: when it is a model of another task, or one for other labels.
    """
    demo = data.demo_models
    tokenizer = demo_tokenizer(demo.texts) if demo else None
    names = ["demo"] if demo else [names] if isinstance(names, str) else list(names)
    teachers = []
    for number, name in enumerate(names * count):
        set_seed(seed + number)
        own: PreTrainedTokenizerBase | None = tokenizer
        if demo and tokenizer:
            model = demo.teacher(tokenizer)
        else:
            own, model = data.load(name, trust_remote_code, **(data.head if train else {}))
            data.check_teacher(name, model.config)
        teachers.append(ModelTeacher(model, own, data.text_columns))
    print_sizes(teachers, data)
    return teachers


def print_sizes(teachers: Sequence[ModelTeacher], data: TaskData) -> None:
    """Says how many texts there are, and how large their teachers are."""
    texts, parameters = len(data.dataset["train"]), sum(one.model.num_parameters() for one in teachers)
    called, verb = " and ".join(describe_teachers(teachers)), "has" if len(teachers) == 1 else "have"
    print_main(f"{texts:,} training texts; {called} {verb} {parameters:,} parameters.")
    say_if_slow(texts, parameters)


def train_teachers(
    teachers: Sequence[ModelTeacher],
    data: TaskData,
    args: DistillationTrainingArguments,
    resume: bool = False,
    max_length: int | None = None,
    **changes: Any,
) -> None:
    """Fine-tune each teacher on the labels, from a seed of its own, in `_teacher` (`_teacher_1`, ...) of `output_dir`.

    Args:
        teachers: As `load_teachers(..., train=True)` loads them.
        data: The texts; rows without a label are left out.
        args: The student's training arguments, of which terms, stages and folder are replaced.
        resume: Whether an interrupted run is continued.
        max_length: Tokens that a text is cut to; by default the task's.
        **changes: Other arguments to change, such as `learning_rate`.
    """
    for number, teacher in enumerate(teachers):
        begin_stage("Fine-tuning the teacher." if len(teachers) == 1 else f"Fine-tuning teacher {number + 1}.")
        folder = f"{args.output_dir}/_teacher" + (f"_{number + 1}" if len(teachers) > 1 else "")
        own = {"seed": args.seed + number, **(data.demo_models.teacher_training if data.demo_models else {}), **changes}
        tokenizer: Any = teacher.processing_class
        splits = labels_only(data.tokenized(tokenizer, max_length), data.trained_column)
        teacher.model.requires_grad_(True)
        trainer = DistillationTrainer(
            teacher.model,
            args.for_labels_only(folder, **own),
            train_dataset=splits["train"],
            eval_dataset=splits["validation"],
            processing_class=tokenizer,
            compute_metrics=data.metrics,
        )
        train_and_save(trainer, resume, keep_checkpoints=False)
        teacher.model.requires_grad_(False)


def live_teachers(
    teachers: Sequence[ModelTeacher],
    student_tokenizer: PreTrainedTokenizerBase,
    dtype: str | None = None,
    share_tokens: bool = True,
) -> list[ModelTeacher]:
    """The teachers to be run in every step, for terms that compare more than logits.

    Args:
        teachers: They read text.
        student_tokenizer: Where it is the teacher's own, the teachers read the student's tokens (and layers can be
            compared token by token).
        dtype: The dtype to run them in; `None` or `auto` keeps their own.
        share_tokens: `False` lets them read the text in any case.
    """
    shared = share_tokens and student_tokenizer is teachers[0].processing_class
    return [
        ModelTeacher(one.model, one.processing_class, None if shared else one.text_columns, dtype) for one in teachers
    ]


def load_student(
    teacher: ModelTeacher,
    data: TaskData,
    name_or_path: str | None = None,
    *,
    seed: int = 42,
    max_length: int | None = None,
    trust_remote_code: bool = False,
    dropout: float | None = None,
    **shape: Any,
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """The untrained student and its tokenizer: the named model, or some of the teacher's layers; of one seed the same.

    Args:
        teacher: Its labels are the student's.
        data: On its first texts the importance of dimensions is measured, where the student is narrower. For the demo's
            data and without a shape, the student is a small BERT with random weights.
        name_or_path: A small model to start from, with a new head where its own does not fit.
        seed: Of what is initialized.
        max_length: Tokens that a text is cut to; by default the task's.
        trust_remote_code: Whether code that is kept with the named model is run.
        dropout: The student's rate of dropout; by default that of the model it is made of.
        **shape: As in `make_student`, such as `num_hidden_layers` (default: half of the teacher's), `hidden_size`, and
            `vocabulary`, with whose tokenizer the student reads.
    """
    set_seed(seed)
    tokenizer: Any = getattr(teacher.processing_class, "tokenizer", teacher.processing_class)  # of one that prompts
    given = {name: value for name, value in shape.items() if value is not None}
    if name_or_path is not None:
        labels = {key: getattr(teacher.model.config, key) for key in ("id2label", "label2id", "problem_type")}
        tokenizer, student = data.load(name_or_path, trust_remote_code, **labels)
    elif data.demo_models and not given:
        student = data.demo_models.student(tokenizer)
    else:
        student = _of_teacher(teacher, data, tokenizer, max_length, given)
        tokenizer = given["vocabulary"].tokenizer if "vocabulary" in given else tokenizer
    if dropout is not None:
        set_dropout(student, dropout)
    return tokenizer, student


def _of_teacher(
    teacher: ModelTeacher, data: TaskData, tokenizer: Any, max_length: int | None, shape: dict[str, Any]
) -> PreTrainedModel:
    if isinstance(teacher.model, PromptedForSequenceClassification):
        raise ValueError(
            "a student is made of a classifier's layers, and the teacher is a prompted model: name a small model to "
            "start from with --student_name_or_path (name_or_path)."
        )
    if "hidden_size" in shape:
        shape["importance_batch"] = data.sample(tokenizer, max_length)
    return make_student(teacher.model, **{"num_hidden_layers": default_depth(teacher.model), **shape})


def default_depth(teacher: PreTrainedModel) -> int:
    """How many layers a student has by default: half of its teacher's, and one at least."""
    return max(1, teacher.config.num_hidden_layers // 2)


def describe_teachers(teachers: Sequence[ModelTeacher]) -> list[str]:
    """The teachers for a card: each by its name, with how many there are of it."""
    counts = Counter(teacher.name or _made_here(teacher) for teacher in teachers)
    return [f"{name} ({count} seeds)" if count > 1 else name for name, count in counts.items()]


def _made_here(teacher: ModelTeacher) -> str:
    family = {"gpt2": "GPT-2"}.get(teacher.model.config.model_type, "BERT")
    return f"a small {family} trained by this command"
