"""What can be said to `translation.py` on the command line: its options, their defaults, and which go together."""

from dataclasses import dataclass, field

import torch

from hfdistill import Seq2SeqDistillationTrainingArguments
from hfdistill.commands.command_line import check_demo, parse_arguments
from hfdistill.losses import SPARSE_DIVERGENCES
from hfdistill.tasks.translation.demo import DEMO
from hfdistill.training.ranges import COUNT, Range, check_numbers

DESCRIPTION = "Distil a translation model: a trained teacher goes in, a small fast student and a report come out."
HUB_TEACHER = "Helsinki-NLP/opus-mt-en-de"
HUB_DATASET = "bentrevett/multi30k"
METHODS = ("word", "sequence", "shrink")

#: Options of which the demo, whose texts are generated, has no use.
NOT_GENERATED = ("train_file", "validation_file", "test_file", "unlabeled_file", "dataset_name", "dataset_config_name")
NOT_GENERATED += ("source_lang", "target_lang")

#: How a student learns word by word.
OF_WORDS = ("terms", "stages", "alpha", "alpha_end", "alpha_schedule", "label_weight", "soft_target_weight")
OF_WORDS += ("temperature", "temperature_end", "temperature_schedule", "divergence", "js_beta", "standardize_logits")
OF_WORDS += ("layer_map", "decoder_layer_map", "hidden_state_loss", "projection_init", "relation_heads")

#: What a teacher that is made here is like, where nothing else is said.
NEW_TEACHER = {"teacher_size": [3, 3, 256], "teacher_dropout": 0.1, "vocab_size": 8000}

#: Which numbers these may be.
RANGES = {
    **dict.fromkeys(("teacher_size", "student_num_encoder_layers", "student_num_decoder_layers"), COUNT),
    **dict.fromkeys(("student_hidden_size", "num_beams", "n_best"), COUNT),
    "teacher_dropout": Range(0, 1, "[)"),
    **dict.fromkeys(("vocab_size", "student_vocab_size"), Range(10, whole=True)),
    "max_length": Range(2, whole=True),
}


@dataclass
class Recipe:
    """Which teacher, which student, which texts."""

    teacher_name_or_path: str | None = field(
        default=None,
        metadata={"help": f"Translator, Hub or folder; default {HUB_TEACHER}, or a new Marian to train."},
    )
    train_teacher: bool = field(default=False, metadata={"help": "Train the teacher on the texts first."})
    teacher_size: list[int] | None = field(
        default=None,
        metadata={"help": "Encoder layers, decoder layers and width of a new Marian; default 3 3 256."},
    )
    teacher_dropout: float | None = field(
        default=None, metadata={"help": "Share of a new Marian's activations that training drops; default 0.1."}
    )
    vocab_size: int | None = field(
        default=None, metadata={"help": "Entries of a new Marian's joint vocabulary; default 8000."}
    )
    methods: list[str] = field(
        default_factory=lambda: list(METHODS),
        metadata={
            "help": "How the student learns from the teacher: any of word, sequence, shrink.",
            "choices": METHODS,
        },
    )
    soft_targets: str | None = field(
        default=None,
        metadata={
            "help": "word: run the teacher once, and keep its predictions as draws or as the likeliest tokens.",
            "choices": ("sampled", "top_k"),
        },
    )
    student_name_or_path: str | None = field(
        default=None, metadata={"help": "A pretrained student, Hub or folder, in place of one that is made here."}
    )
    student_num_encoder_layers: int | None = field(default=None, metadata={"help": "Default: as many as the teacher."})
    student_num_decoder_layers: int | None = field(
        default=None, metadata={"help": "Default: a third of the teacher's."}
    )
    student_hidden_size: int | None = field(
        default=None, metadata={"help": "Width of the student, where it does not shrink the teacher."}
    )
    student_vocab_size: int | None = field(
        default=None, metadata={"help": "A joint vocabulary of the student's own; goes with --methods sequence alone."}
    )
    interpolate: bool = field(
        default=False, metadata={"help": "sequence: the candidate closest to people's translation, not the likeliest."}
    )
    n_best: int | None = field(
        default=None, metadata={"help": "sequence: as many of the teacher's candidates, each a pair to learn from."}
    )
    dataset_name: str = field(default=HUB_DATASET, metadata={"help": "Parallel set on the Hub."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_file: str | None = field(default=None, metadata={"help": "Your pairs: json lines, csv, tsv or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "Default: a tenth of the training pairs."})
    test_file: str | None = field(default=None, metadata={"help": "The figures are measured here, else on validation."})
    unlabeled_file: str | None = field(
        default=None, metadata={"help": "More source texts, for the teacher to translate."}
    )
    skip_empty: bool = field(
        default=True, metadata={"help": "Pairs with an empty side are skipped and counted; false refuses them."}
    )
    source_lang: str = field(default="en", metadata={"help": "Column of the source texts, or their language."})
    target_lang: str = field(default="de", metadata={"help": "Column of the target texts, or their language."})
    source_tag: str | None = field(default=None, metadata={"help": "A teacher of many languages: its tag, eng_Latn."})
    target_tag: str | None = field(default=None, metadata={"help": "Likewise, such as deu_Latn."})
    max_length: int = field(default=128, metadata={"help": "Tokens a text is cut to on either side."})
    num_beams: int = field(default=5, metadata={"help": "Beam of the teacher's translations and of the measurement."})
    baseline: bool = field(default=False, metadata={"help": "Train the same student without a teacher, too."})
    export: str | None = field(
        default=None, metadata={"help": "Also write the student for CTranslate2, in int8.", "choices": ["ctranslate2"]}
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run code that comes with a named model; read it first."}
    )
    demo: bool = field(default=False, metadata={"help": "A generated corpus and small models; needs no network."})

    def __post_init__(self) -> None:
        self.describe_new_teacher()
        check_numbers(self, RANGES, "--")
        check_demo(self, NOT_GENERATED)
        if (self.source_tag is None) != (self.target_tag is None):
            raise ValueError("--source_tag and --target_tag go together: a teacher of many languages needs both.")
        if self.source_tag and self.makes_teacher:
            raise ValueError("--source_tag and --target_tag are of a teacher of many languages; a new one knows two.")
        if not self.methods:
            raise ValueError("--methods names none: without a teacher the student is the --baseline.")
        if self.student_vocab_size and set(self.methods) != {"sequence"}:
            raise ValueError(
                "--student_vocab_size gives the student words of its own, about which the teacher has no predictions "
                "and no weights: it goes with --methods sequence alone."
            )
        self.check_candidates()
        if self.unlabeled_file and "sequence" not in self.methods:
            raise ValueError("--unlabeled_file is for the teacher to translate: it goes with --methods sequence.")
        if self.soft_targets and "word" not in self.methods:
            raise ValueError("--soft_targets are the teacher's predictions word by word: they go with --methods word.")
        shape = (self.student_num_encoder_layers, self.student_num_decoder_layers, self.student_hidden_size)
        if self.student_name_or_path and (any(shape) or self.student_vocab_size or "shrink" in self.methods):
            raise ValueError(
                "--student_name_or_path has layers, sizes and words of its own: leave those of --student_... out, and "
                "shrink out of --methods."
            )
        if self.student_hidden_size and "shrink" in self.methods:
            raise ValueError(
                "--student_hidden_size and --methods shrink exclude one another: the teacher's layers have its own "
                "width."
            )

    def check_candidates(self) -> None:
        chosen = [name for name in ("interpolate", "n_best") if getattr(self, name)]
        if chosen and "sequence" not in self.methods:
            raise ValueError(f"--{chosen[0]} is of the teacher's translations: it goes with --methods sequence.")
        if len(chosen) == 2:
            raise ValueError("--interpolate takes one of the teacher's candidates and --n_best several: choose.")
        if self.n_best and self.n_best > self.num_beams:
            raise ValueError(f"--n_best {self.n_best} are more candidates than --num_beams {self.num_beams} has.")
        if not self.interpolate:
            return
        if self.num_beams == 1:
            raise ValueError("--interpolate has nothing to choose from with --num_beams 1.")
        if self.unlabeled_file:
            raise ValueError(
                "--interpolate needs reference translations to be close to, and --unlabeled_file has none."
            )

    @property
    def makes_teacher(self) -> bool:
        """Whether the teacher is a new one."""
        return (self.train_teacher or self.demo) and self.teacher_name_or_path is None

    def describe_new_teacher(self) -> None:
        """Fills in what is not said of a teacher that is made here, and refuses it of one that is not."""
        for name, default in NEW_TEACHER.items():
            if getattr(self, name) is None:
                setattr(self, name, default)
            elif not self.makes_teacher:
                raise ValueError(
                    f"--{name} is of a new teacher, and this one is there already: leave it out, or let "
                    "--train_teacher make one without a --teacher_name_or_path."
                )
        if len(self.teacher_size) != 3:
            raise ValueError(
                f"--teacher_size takes three numbers, encoder layers, decoder layers, width; got {self.teacher_size}."
            )


@dataclass
class RecipeTrainingArguments(Seq2SeqDistillationTrainingArguments):
    """The training arguments, with this recipe's defaults: texts batched by length, evaluated by their losses."""

    output_dir: str = "distilled-translation"
    learning_rate: float = 3e-4
    num_train_epochs: float = 5
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 64
    warmup_steps: float = 0.06
    temperature: float = 1.0
    alpha: float = 0.8
    train_sampling_strategy: str = "group_by_length"
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    save_total_limit: int = 1
    logging_steps: float = 0.02
    report_to: str = "none"
    dataloader_pin_memory: bool = torch.accelerator.is_available()
    use_cpu: bool = not torch.accelerator.is_available()  # said, or the processes of torchrun do not find each other


def arguments() -> tuple[Recipe, RecipeTrainingArguments]:
    """The options of this run; the demo has defaults of its own."""
    classes = (Recipe, RecipeTrainingArguments)
    recipe, _ = parse_arguments(classes, DESCRIPTION)
    recipe, args = parse_arguments(classes, DESCRIPTION, demo_defaults(recipe) if recipe.demo else None, check_words)
    if recipe.demo and "shrink" not in recipe.methods and recipe.student_hidden_size is None:
        recipe.student_hidden_size = DEMO.student_size[2]
    # A teacher's own limit, of which the student has a copy, may be four times as long.
    args.generation_max_length = args.generation_max_length or recipe.max_length
    return recipe, args


def demo_defaults(recipe: Recipe) -> dict[str, object]:
    demo = {"train_teacher": True, "baseline": True, "methods": ["word", "sequence"], "max_length": 48, "num_beams": 3}
    encoder_layers, decoder_layers, _ = DEMO.student_size
    sizes = {"student_num_encoder_layers": encoder_layers, "student_num_decoder_layers": decoder_layers}
    if recipe.teacher_name_or_path is None:
        sizes |= {"teacher_size": list(DEMO.teacher_size), "vocab_size": DEMO.vocab_size}
    return {**demo, **sizes, **DEMO.student_training}


def check_words(recipe: Recipe, args: RecipeTrainingArguments) -> None:
    """Refuses training arguments that would do nothing, or that the kept predictions of a teacher cannot serve."""
    usual = RecipeTrainingArguments(**DEMO.student_training if recipe.demo else {})
    idle = [name for name in OF_WORDS if getattr(args, name) != getattr(usual, name)]
    if idle and "word" not in recipe.methods:
        raise ValueError(f"--{idle[0]} is about learning word by word: it does nothing without --methods word.")
    if "word" in recipe.methods and not args.needs_teacher:
        raise ValueError(
            f"--methods word learns from {' and '.join(sorted(args.terms_with_weight))} alone, and nothing from the "
            "teacher: give soft_targets a weight, or leave word out."
        )
    kept = args.divergence in SPARSE_DIVERGENCES and not args.standardize_logits and args.temperature_end is None
    if recipe.soft_targets and not (kept and args.terms_with_weight <= {"labels", "soft_targets"}):
        raise ValueError(
            "--soft_targets keeps a part of the teacher's predictions at one temperature, which serves the terms "
            f"labels and soft_targets with --divergence {' or '.join(SPARSE_DIVERGENCES)}: leave it out to learn in "
            "another way."
        )
