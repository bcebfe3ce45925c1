"""The options of `hfdistill translate`: their groups, their defaults, and which of them go together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hfdistill.commands.command_line import parse_arguments
from hfdistill.commands.options import option
from hfdistill.data.parallel import SCORE
from hfdistill.export.base import check_export, formats
from hfdistill.losses import SPARSE_DIVERGENCES
from hfdistill.soft_targets.shards import Shard
from hfdistill.tasks.translation.arguments import TranslationTrainingArguments
from hfdistill.tasks.translation.demo import STUDENT_TRAINING, TRANSLATION_DEMO
from hfdistill.tasks.translation.models import HUB_TEACHER
from hfdistill.tasks.translation.pseudo_translations import PRECISIONS
from hfdistill.tasks.translation.quality_estimation import check_quality_command

DESCRIPTION = "Distill a translation model: a trained teacher goes in, a small fast student and a report come out."
PROGRAM = "hfdistill translate"
HUB_DATASET = "bentrevett/multi30k"
METHODS = ("word", "sequence", "shrink")
CHOOSE = ("closest", "mbr", "quality")
ENGINES = ("transformers", "ctranslate2")

#: Training arguments of word-level distillation.
WORD_LEVEL = (
    *("terms", "stages", "alpha", "alpha_end", "alpha_schedule", "label_weight", "soft_target_weight", "temperature"),
    *("temperature_end", "temperature_schedule", "divergence", "js_beta", "standardize_logits", "layer_map"),
    *("decoder_layer_map", "hidden_state_loss", "projection_init", "relation_heads", "teacher_layer"),
)

#: How a new teacher is made; `new_translator` has the defaults.
NEW_TEACHER = {"teacher_size": "size", "teacher_dropout": "dropout", "vocab_size": "vocab_size"}


@dataclass
class TextOptions:
    """Which pairs of texts."""

    _argument_group_name = "texts"

    dataset_name: str = option(HUB_DATASET, "Parallel set on the Hub.")
    dataset_config_name: str | None = option(None, "Its configuration.")
    train_file: list[str] | None = option(
        None, "Your pairs: corpus.en corpus.de, or one .tmx, tsv, json lines, csv, parquet, or opus:Europarl/v8."
    )
    validation_file: list[str] | None = option(None, "Default: a tenth of the training pairs.")
    test_file: list[str] | None = option(None, "Measured on, else validation; also by name, sacrebleu:wmt20.")
    unlabeled_file: str | None = option(None, "More source texts, for the teacher; also .txt, a sentence a line.")
    skip_empty: bool = option(True, "Pairs with an empty side are skipped and counted; false refuses them.")
    clean: bool = option(False, "Drop faulty pairs and texts, and report; by two translators: hfdistill clean.")
    min_score: float | None = option(None, "With clean: drop pairs whose score is lower.")
    score_column: str = option(SCORE, "Column of the score; of files without a header the last or first.")
    source_lang: str = option("en", "Column of the source texts, or their language.")
    target_lang: str = option("de", "Column of the target texts, or their language.")
    max_length: int = option(128, "Tokens a text is cut to on either side.")
    demo: bool = option(False, "A generated corpus and small models; needs no network.")


@dataclass
class TeacherOptions:
    """Which teacher."""

    _argument_group_name = "teacher"

    teacher_name_or_path: list[str] | None = option(
        None, f"Translator; default {HUB_TEACHER}, or a new Marian to train; several translate together."
    )
    source_tag: str | None = option(None, "A teacher of many languages: its tag, eng_Latn.")
    target_tag: str | None = option(None, "Likewise, such as deu_Latn.")
    train_teacher: bool = option(False, "Train the teacher on the texts first.")
    teacher_size: list[int] | None = option(None, "Encoder layers, decoder layers, width of a new Marian; 3 3 256.")
    teacher_dropout: float | None = option(None, "Dropout of a new Marian; default 0.1.")
    vocab_size: int | None = option(None, "Entries of a new Marian's joint vocabulary; default 8000.")
    trust_remote_code: bool = option(False, "Run code that comes with a named model; read it first.")


@dataclass
class MethodOptions:
    """How the student learns from the teacher."""

    _argument_group_name = "methods"

    methods: list[str] = option(list(METHODS), "How the student learns: any of them.", choices=METHODS)
    soft_targets: str | None = option(
        None,
        "word: precompute the teacher's distributions, as samples or as the likeliest tokens.",
        choices=("sampled", "top_k"),
    )
    num_beams: int = option(5, "Beam of the teacher's translations and of the measurement.")
    choose: str | None = option(
        None,
        "sequence: not the teacher's likeliest candidate, but the closest to the reference, of minimum Bayes risk, or "
        "the best by quality estimation.",
        choices=CHOOSE,
    )
    quality_command: str | None = option(
        None,
        "choose quality: 'comet-score -s {sources} -t {translations} --to_json {scores} --model ...', or the like.",
    )
    n_best: int | None = option(None, "sequence: as many of the teacher's candidates, each a pair to learn from.")
    sample: bool = option(False, "sequence: draw the teacher's candidates from its distribution, without a beam.")
    translations: list[str] | None = option(
        None, "sequence: the folder that keeps them, else the cache; of several all comes into the first."
    )
    shard: str | None = option(None, "sequence: only translate part 3/16 of the texts, as one of sixteen machines.")
    engine: str = option(
        "transformers",
        "sequence: what runs the teacher; ctranslate2 is faster on processors. A server, such as vLLM's: in Python, by "
        "api_translations.",
        choices=ENGINES,
    )
    engine_dtype: str | None = option(
        None, "What --engine ctranslate2 keeps weights in, such as int8; default --teacher_dtype.", choices=PRECISIONS
    )


@dataclass
class StudentOptions:
    """Which student."""

    _argument_group_name = "student"

    student_name_or_path: str | None = option(None, "A pretrained student, in place of one that is made here.")
    student_num_encoder_layers: int | None = option(None, "Default: as many as the teacher.")
    student_num_decoder_layers: int | None = option(None, "Default: a third of the teacher's.")
    student_hidden_size: int | None = option(None, "Width of the student, where it does not shrink the teacher.")
    student_vocab_size: int | None = option(
        None,
        "A vocabulary of the student's own, not with word: trained anew, or with shrink trimmed from the teacher's.",
    )


@dataclass
class OutcomeOptions:
    """What is made beside the student."""

    _argument_group_name = "outcome"

    baseline: bool = option(False, "Train the same student without a teacher, too.")
    export: list[str] | None = option(None, f"Also write the student as any of: {', '.join(formats('translation'))}.")


class TranslateOptions(NamedTuple):
    """All options, by what they are for."""

    texts: TextOptions
    teacher: TeacherOptions
    method: MethodOptions
    student: StudentOptions
    outcome: OutcomeOptions
    training: TranslationTrainingArguments

    @property
    def new_teacher(self) -> bool:
        """Whether the teacher is a new one, made here."""
        return (self.teacher.train_teacher or self.texts.demo) and self.teacher.teacher_name_or_path is None


GROUPS = (TextOptions, TeacherOptions, MethodOptions, StudentOptions, OutcomeOptions, TranslationTrainingArguments)


def read_options(words: Sequence[str] | None = None) -> TranslateOptions:
    """The options of this run; the demo has defaults of its own."""
    demo = {name: value for name, value in TRANSLATION_DEMO.items() if name != "student_hidden_size"}
    parsed = parse_arguments(GROUPS, DESCRIPTION, check=check_options, demo=demo, words=words, program=PROGRAM)
    options = TranslateOptions(*parsed)
    texts, _, method, student, _, training = options
    if texts.demo and "shrink" not in method.methods and student.student_hidden_size is None:
        student.student_hidden_size = TRANSLATION_DEMO["student_hidden_size"]
    # A teacher's own limit, of which the student has a copy, may be four times as long.
    training.generation_max_length = training.generation_max_length or texts.max_length
    return options


def check_options(*groups: object) -> None:
    """Refuses options that do not go together.

    Raises:
        ValueError: naming one of them.
    """
    options = TranslateOptions(*groups)  # type: ignore[arg-type]
    check_texts(options)
    check_teacher(options)
    check_method(options)
    check_candidates(options)
    check_student(options)
    check_word_level(options)
    check_export(options.outcome.export or [], "translation")


def check_texts(options: TranslateOptions) -> None:
    texts = options.texts
    if texts.min_score is not None and not texts.clean:
        raise ValueError("--min_score is one of the rules of --clean: give both.")
    if texts.score_column != SCORE and texts.min_score is None:
        raise ValueError("--score_column is of the rule that needs --min_score: give both.")


def check_teacher(options: TranslateOptions) -> None:
    teacher = options.teacher
    given = [name for name in NEW_TEACHER if getattr(teacher, name) is not None]
    if given and not options.new_teacher:
        raise ValueError(
            f"--{given[0]} is of a new teacher, and this one is there already: leave it out, or let --train_teacher "
            "make one without a --teacher_name_or_path."
        )
    if len(teacher.teacher_name_or_path or ()) > 1:
        if teacher.train_teacher:
            raise ValueError("--train_teacher trains one teacher, and --teacher_name_or_path has several: name one.")
        if "word" in options.method.methods:
            raise ValueError(
                "several teachers translate together, and are not asked word by word: name --methods sequence, with "
                "shrink for a student that starts from the first one's layers."
            )
    if teacher.teacher_size is not None and len(teacher.teacher_size) != 3:
        raise ValueError(
            f"--teacher_size takes three numbers, encoder layers, decoder layers, width; got {teacher.teacher_size}."
        )
    if (teacher.source_tag is None) != (teacher.target_tag is None):
        raise ValueError("--source_tag and --target_tag go together: a teacher of many languages needs both.")
    if teacher.source_tag and options.new_teacher:
        raise ValueError("--source_tag and --target_tag are of a teacher of many languages; a new one knows two.")


def check_method(options: TranslateOptions) -> None:
    methods = options.method.methods
    if not methods:
        raise ValueError("--methods names none: without a teacher the student is the --baseline.")
    if options.texts.unlabeled_file and "sequence" not in methods:
        raise ValueError("--unlabeled_file is for the teacher to translate: it goes with --methods sequence.")
    if options.method.soft_targets and "word" not in methods:
        raise ValueError("--soft_targets are the teacher's distributions over words: they go with --methods word.")


def check_candidates(options: TranslateOptions) -> None:
    method = options.method
    chosen = [name for name in ("choose", "n_best", "sample", "translations", "shard") if getattr(method, name)]
    if chosen and "sequence" not in method.methods:
        raise ValueError(f"--{chosen[0]} is of the teacher's translations: it goes with --methods sequence.")
    if method.engine != "transformers":
        if "sequence" not in method.methods:
            raise ValueError("--engine runs the teacher for its translations: it goes with --methods sequence.")
        check_export([method.engine], "translation")
    elif method.engine_dtype:
        raise ValueError(
            f"--engine_dtype {method.engine_dtype} is of --engine ctranslate2: add that, or give the teacher that "
            "transformers runs a --teacher_dtype."
        )
    if method.choose and method.n_best:
        raise ValueError("--choose takes one of the teacher's candidates and --n_best several: leave one of them out.")
    if method.n_best and method.n_best > method.num_beams and not method.sample:
        raise ValueError(f"--n_best {method.n_best} are more candidates than --num_beams {method.num_beams} has.")
    check_choice(options)
    if method.shard:
        check_shard(options, method.shard)


def check_choice(options: TranslateOptions) -> None:
    method = options.method
    if method.choose and method.num_beams == 1:
        raise ValueError("--choose has nothing to choose from with --num_beams 1.")
    if (method.choose == "quality") != (method.quality_command is not None):
        raise ValueError("--choose quality and --quality_command, which says how good a candidate is, go together.")
    if method.quality_command is not None:
        check_quality_command(method.quality_command)
    if method.choose == "closest" and options.texts.unlabeled_file:
        raise ValueError(
            "--choose closest needs reference translations to be close to, and --unlabeled_file has none: mbr and "
            "quality need none."
        )


def check_shard(options: TranslateOptions, shard: str) -> None:
    Shard.of(shard)
    if options.teacher.train_teacher or options.new_teacher:
        raise ValueError(
            "--shard is for a teacher that all machines have, and each would train one of its own: train it first, and "
            "name it with --teacher_name_or_path."
        )
    if len(options.method.translations or ()) > 1:
        raise ValueError("--shard writes to one folder: name the others once all shards are there.")


def check_student(options: TranslateOptions) -> None:
    student, methods = options.student, options.method.methods
    if student.student_vocab_size and ("word" in methods or not methods):
        raise ValueError(
            "--student_vocab_size gives the student a vocabulary of its own, for which the teacher has no predictions: "
            "it goes with --methods sequence (a new vocabulary) or sequence shrink (the teacher's, trimmed)."
        )
    if student.student_name_or_path and "shrink" in methods:
        raise ValueError("--student_name_or_path has layers of its own: leave shrink out of --methods.")
    if student.student_hidden_size and "shrink" in methods:
        raise ValueError(
            "--student_hidden_size and --methods shrink exclude one another: the teacher's layers have its own width."
        )


def check_word_level(options: TranslateOptions) -> None:
    """Refuses training arguments that would do nothing, or that precomputed distributions cannot serve."""
    args, word = options.training, "word" in options.method.methods
    usual = TranslationTrainingArguments(**STUDENT_TRAINING if options.texts.demo else {})
    idle = [name for name in WORD_LEVEL if getattr(args, name) != getattr(usual, name)]
    if idle and not word:
        raise ValueError(f"--{idle[0]} is about learning word by word: it does nothing without --methods word.")
    if word and not args.needs_teacher:
        raise ValueError(
            f"--methods word learns from {' and '.join(sorted(args.terms_with_weight))} alone, and nothing from the "
            "teacher: give soft_targets a weight, or leave word out."
        )
    stored = args.divergence in SPARSE_DIVERGENCES and not args.standardize_logits and args.temperature_end is None
    if options.method.soft_targets and not (stored and args.terms_with_weight <= {"labels", "soft_targets"}):
        raise ValueError(
            "--soft_targets stores a part of the teacher's distributions at one temperature, which serves the terms "
            f"labels and soft_targets with --divergence {' or '.join(SPARSE_DIVERGENCES)}: leave it out to learn in "
            "another way."
        )
