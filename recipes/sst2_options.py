"""What can be said to `sst2.py` on the command line: its options, their defaults, and which of them go together."""

from dataclasses import dataclass, field

import torch

from hfdistill import DistillationTrainingArguments
from hfdistill.commands.command_line import check_demo, not_default, parse_arguments
from hfdistill.data.augmentation.augmenters import AUGMENTERS
from hfdistill.export.base import check_export
from hfdistill.search import Budget, check_search, parse_count
from hfdistill.tasks.classification.demo import DEMO
from hfdistill.training.ranges import COUNT, Range, check_numbers

DESCRIPTION = "Distil a text classifier: a fine-tuned teacher goes in, a small student and a report come out."
HUB_TEACHER = "yoshitomo-matsubara/bert-base-uncased-sst2"
HUB_DATASET = "stanfordnlp/sst2"

#: Options that would do nothing without another.
NEEDED = {
    "search_trials": ("search_storage", "search_trade_off", "max_parameters", "max_latency_ms"),
    "online": ("num_students",),
    "augment": ("augment_copies",),
}

#: Options of which the demo, whose texts and models are generated, has no use.
NOT_GENERATED = ("train_file", "validation_file", "test_file", "unlabeled_file", "dataset_name", "dataset_config_name")
NOT_GENERATED += (
    "class_names",
    "text_column",
    "text_pair_column",
    "label_column",
    "teacher_name_or_path",
    "student_name_or_path",
)

#: Which numbers these may be.
RANGES = {
    **dict.fromkeys(("num_teachers", "augment_copies", "student_num_hidden_layers", "student_hidden_size"), COUNT),
    **dict.fromkeys(("num_students", "student_embedding_size"), Range(2, whole=True)),
    "label_fraction": Range(0, 1, "(]"),
    "max_length": Range(3, whole=True, advice=": a word between the tokens that begin and end a text"),
    "search_trials": Range(0, whole=True),
}


@dataclass
class Recipe:
    """Which teacher, which student, which texts."""

    teacher_name_or_path: list[str] = field(
        default_factory=lambda: [HUB_TEACHER],
        metadata={"help": "Fine-tuned classifier, Hub or folder; of several, the predictions are averaged."},
    )
    train_teacher: bool = field(default=False, metadata={"help": "Fine-tune the named model on the labels first."})
    num_teachers: int = field(default=1, metadata={"help": "With --train_teacher: fine-tune this many, by seeds."})
    learn_teacher_weights: bool = field(
        default=False, metadata={"help": "Of several teachers: weigh each by what it adds on the validation labels."}
    )
    online: str | None = field(
        default=None,
        metadata={"help": "No teacher: students that teach one another.", "choices": ["mutual", "one"]},
    )
    num_students: int = field(default=2, metadata={"help": "With --online: how many; the first is kept."})
    student_name_or_path: str | None = field(default=None, metadata={"help": "A small model to start from."})
    student_num_hidden_layers: int | None = field(
        default=None, metadata={"help": "Otherwise: this many of the teacher's layers (default half of them)."}
    )
    student_hidden_size: int | None = field(
        default=None, metadata={"help": "And this many hidden dimensions, those that matter most on the texts."}
    )
    student_embedding_size: int | None = field(
        default=None, metadata={"help": "And a word table of this many columns, widened by a projection (low rank)."}
    )
    dataset_name: str = field(default=HUB_DATASET, metadata={"help": "Dataset on the Hub."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_file: str | None = field(default=None, metadata={"help": "Your texts: csv, tsv, json or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "Default: a tenth of the training texts."})
    test_file: str | None = field(default=None, metadata={"help": "The figures are measured here, else on validation."})
    unlabeled_file: str | None = field(default=None, metadata={"help": "More texts, for the teacher to label."})
    label_fraction: float | None = field(
        default=None, metadata={"help": "Keep this share of the training labels; the teacher labels the rest."}
    )
    augment: list[str] | None = field(
        default=None, metadata={"help": f"More texts made of the training texts: any of {', '.join(AUGMENTERS)}."}
    )
    augment_copies: int = field(default=1, metadata={"help": "How many are made of each text, by each of them."})
    augment_model: str = field(
        default="distilbert/distilbert-base-uncased", metadata={"help": "Masked language model for word_replacement."}
    )
    back_translation_models: list[str] = field(
        default_factory=lambda: ["Helsinki-NLP/opus-mt-en-de", "Helsinki-NLP/opus-mt-de-en"],
        metadata={"help": "Two models: into another language, and back."},
    )
    text_column: str | None = field(default=None, metadata={"help": "Column of the text."})
    text_pair_column: str | None = field(default=None, metadata={"help": "Column of the second text of a pair."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the label."})
    class_names: list[str] | None = field(
        default=None,
        metadata={
            "help": "Names of the numbered classes, or a file of one a line (default: labels.txt beside the texts)."
        },
    )
    max_length: int = field(default=128, metadata={"help": "Tokens a text is cut to for the student."})
    soft_targets: bool = field(default=True, metadata={"help": "Run the teacher once; false runs it in every step."})
    baseline: bool = field(default=False, metadata={"help": "Train the same student without a teacher, too."})
    search_trials: int = field(default=0, metadata={"help": "Try this many students and settings first (Optuna)."})
    search_storage: str | None = field(
        default=None, metadata={"help": "File of the search, for processes to share; default in output_dir."}
    )
    search_trade_off: bool = field(default=False, metadata={"help": "Search for quality and latency at once."})
    max_parameters: str | None = field(default=None, metadata={"help": "Of a student that is searched, such as 5M."})
    max_latency_ms: float | None = field(default=None, metadata={"help": "Of a student that is searched; one text."})
    export: list[str] | None = field(default=None, metadata={"help": "Also write the student as: onnx int8."})
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run code that comes with a named model; read it first."}
    )
    demo: bool = field(default=False, metadata={"help": "A generated corpus and small models; needs no network."})

    def __post_init__(self) -> None:
        check_numbers(self, RANGES, "--")
        for needed, names in NEEDED.items():
            idle = not_default(self, names)
            if idle and not getattr(self, needed):
                raise ValueError(f"--{idle[0]} does nothing without --{needed}: give both, or neither.")
        check_demo(self, NOT_GENERATED)
        shape = (self.student_num_hidden_layers, self.student_hidden_size, self.student_embedding_size)
        if self.student_name_or_path and any(shape):
            raise ValueError("--student_name_or_path has a shape of its own: leave its layers and sizes out.")
        unknown = [name for name in self.augment or () if name not in AUGMENTERS]
        if unknown:
            raise ValueError(f"--augment knows {', '.join(AUGMENTERS)}, not {', '.join(unknown)}.")
        if self.num_teachers > 1 and not (self.train_teacher or self.demo):
            raise ValueError(
                "--num_teachers fine-tunes several, with --train_teacher; those there are go by their names."
            )
        if self.learn_teacher_weights and len(self.teacher_name_or_path) * self.num_teachers == 1:
            raise ValueError("--learn_teacher_weights weighs several teachers, and there is one.")
        if self.online:
            self.check_online()
        Budget(parse_count(self.max_parameters), self.max_latency_ms)
        check_export(self.export or [])
        if self.search_trials:
            check_search()

    def check_online(self) -> None:
        """Refuses what is about a teacher where there is none."""
        if self.search_trials:
            raise ValueError("--search_trials looks for how to learn from a teacher, and --online has none: take one.")
        if self.train_teacher and not self.demo:
            raise ValueError("--train_teacher does nothing with --online, where there is no teacher: give one of them.")
        if self.student_name_or_path and not_default(self, ["teacher_name_or_path"]):
            raise ValueError("--teacher_name_or_path does nothing with --online and a --student_name_or_path: drop it.")

    @property
    def learns_labels(self) -> bool:
        """Whether the named models are trained on the labels, and need not know them yet."""
        return self.train_teacher or self.online is not None

    @property
    def starting_points(self) -> list[str]:
        """The models that teach; or, without a teacher, the one that all students are made of."""
        alone = self.online and self.student_name_or_path
        return [self.student_name_or_path] if alone else self.teacher_name_or_path

    @property
    def teacher_description(self) -> list[str]:
        """Who taught, for the card."""
        if self.online:
            return ["no teacher: students that taught one another"]
        names = ["a small BERT trained by this command"] if self.demo else self.teacher_name_or_path
        return [f"{name} ({self.num_teachers} seeds)" if self.num_teachers > 1 else name for name in names]

    @property
    def dataset_description(self) -> str:
        """On which texts."""
        return "a generated demo corpus" if self.demo else self.train_file or self.dataset_name


@dataclass
class RecipeTrainingArguments(DistillationTrainingArguments):
    """The training arguments, with this recipe's defaults: BERT's fine-tuning settings, texts batched by length."""

    output_dir: str = "distilled"
    learning_rate: float = 5e-5
    num_train_epochs: float = 3
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 64
    warmup_steps: float = 0.06
    weight_decay: float = 0.01
    train_sampling_strategy: str = "group_by_length"
    eval_on_start: bool = True
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    save_total_limit: int = 1
    logging_steps: float = 0.05
    report_to: str = "none"
    dataloader_pin_memory: bool = torch.accelerator.is_available()
    use_cpu: bool = not torch.accelerator.is_available()  # said, or the processes of torchrun do not find each other

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_names is not None:
            raise ValueError(
                "--label_names is what `Trainer` calls the columns of labels, and does nothing here: name the classes "
                "with --class_names, the column with --label_column."
            )


def arguments() -> tuple[Recipe, RecipeTrainingArguments]:
    """The options of this run; the demo has defaults of its own."""
    recipe, args = parse_arguments((Recipe, RecipeTrainingArguments), DESCRIPTION)
    if recipe.demo:
        demo = {"train_teacher": True, "baseline": True, **DEMO.student_training}
        recipe, args = parse_arguments((Recipe, RecipeTrainingArguments), DESCRIPTION, demo)
    return recipe, args
