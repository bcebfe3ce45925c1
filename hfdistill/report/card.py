"""The card of a distilled student, written from what was really trained and measured."""

from __future__ import annotations

import csv
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx, validate_repo_id
from transformers import TrainerState, TrainingArguments
from transformers.modelcard import TASK_MAPPING
from transformers.utils import logging

from hfdistill.models.heads import CandidateHead, ChoiceHead, EmbeddingHead, Head, head_of
from hfdistill.report.figures import Comparison
from hfdistill.report.findings import routing_sentence, speed_sentence
from hfdistill.report.local_paths import without_places
from hfdistill.report.markdown import code, code_block, escaped, link, markdown_table, one_line
from hfdistill.report.results import TRADE_OFF, TRADE_OFF_CAPTION
from hfdistill.report.saved_form import PLAIN_SENTENCE, SavedForm
from hfdistill.report.snippets import Usage, routing_code, usage_code
from hfdistill.report.verdict import verdict

logger = logging.get_logger(__name__)

#: What `Trainer` logs with an evaluation that is not about the student's predictions.
COSTS = ("runtime", "_per_second", "_time")
#: The Hub's tasks that follow from a head and not from a model's class.
_TASKS_OF_HEADS: dict[type[Head], str] = {
    EmbeddingHead: "sentence-similarity",
    CandidateHead: "text-ranking",
    ChoiceHead: "multiple-choice",
}
FORMULA = "loss = Σ weight · term; soft targets: T² · D(softmax(teacher / T), softmax(student / T))"


@dataclass(frozen=True)
class CardFacts:
    """What a card holds beside what the trainer knows.

    Args:
        teacher: The teacher's name on the Hub, or a word for it; of several, each; empty where there was none. A local
            path is never printed: its last part is.
        dataset: The dataset's name on the Hub, or a word for it; likewise. Empty when it is not known.
        measured_on: What the figures are of, where that is another dataset or file.
        comparison: The measured models.
        command: The words of the command that was run. Local paths are shortened to their last part, and a token is
            left out.
        license: The teacher's license, as its card names it.
        labeled_rows: How many rows had labels.
        unlabeled_rows: How many had none and were labeled by the teacher alone.
        task: The Hub's name of what the student does, or several; `None` when it is not known.
        emissions_grams: CO₂ equivalents of the training in grams, as codecarbon measured them.
        notes: Sentences on how the student came about.
        evaluation: Without a comparison, the student's figures on the evaluation set by name.
        base_model: The name on the Hub of the model that the student was made of, where that is not the teacher.
        dataset_tags: The datasets' names on the Hub, where `dataset` is a word for them.
        dataset_args: Which part of the dataset it was, such as its configuration.
        language: The language of the texts, or several.
        tags: More tags for the Hub.
        form: What the saved student is.
        location: Where it is loaded from: its repository or folder; by default its name.
        advice: What to try first, in plain text.
        teacher_trained: Whether the teacher was fine-tuned by the same run.
        text_pair: Whether the student reads pairs of texts.
        folder: Where its exports and pictures are looked for.
    """

    teacher: str | Sequence[str]
    dataset: str | Sequence[str]
    comparison: Comparison | None = None
    command: Sequence[str] = ()
    license: str | None = None
    labeled_rows: int | None = None
    unlabeled_rows: int = 0
    task: str | Sequence[str] | None = "text-classification"
    emissions_grams: float | None = None
    notes: Sequence[str] = ()
    evaluation: Mapping[str, float] = field(default_factory=dict)
    base_model: str | None = None
    dataset_tags: str | Sequence[str] = ()
    dataset_args: str | Sequence[str] = ()
    language: str | Sequence[str] | None = None
    tags: str | Sequence[str] = ()
    form: SavedForm = SavedForm()
    location: str = ""
    advice: str = ""
    teacher_trained: bool = False
    text_pair: bool = False
    folder: str = ""
    measured_on: str = ""


def teacher_license(name: str) -> str | None:
    """The license that a teacher's own card names, in its folder or on the Hub; `None` where there is no such card.

    A student made of its teacher's weights is under its teacher's license; likewise a teacher without one of its own
    is under that of the model that it was fine-tuned from, where its card names one.
    """
    card = _card_data(name)
    license, base = card.get("license"), _base_in(card)
    if isinstance(license, str):
        return license
    return teacher_license(base) if base and base != name else None


def teacher_base(name: str) -> str | None:
    """The one model on the Hub that a teacher's own card says it was fine-tuned from; `None` where there is none."""
    return _base_in(_card_data(name))


def _base_in(card: Mapping[str, Any]) -> str | None:
    bases = card.get("base_model") or []
    bases = [bases] if isinstance(bases, str) else bases
    return str(bases[0]) if len(bases) == 1 and _is_hub_name(str(bases[0])) else None


def teacher_language(name: str) -> list[str]:
    """The languages that a teacher's own card names, in its folder or on the Hub; none where there is no such card."""
    languages = _card_data(name).get("language") or []
    return [str(language) for language in ([languages] if isinstance(languages, str) else languages)]


def _card_data(name: str) -> dict[str, Any]:
    """The metadata of a model's card; nothing where it has none, or where that cannot be read."""
    folder = Path(name)
    if folder.exists() and not (folder / "README.md").is_file():
        return {}
    try:
        return ModelCard.load(folder / "README.md" if folder.exists() else name).data.to_dict()
    except (OSError, ValueError, httpx.HTTPError) as error:
        if not isinstance(error, (FileNotFoundError, EntryNotFoundError)) or isinstance(error, LocalEntryNotFoundError):
            logger.warning("The card of %s cannot be read, so that its license is not told: %s", name, error)
        return {}


def measured_emissions(folder: str | os.PathLike[str]) -> float | None:
    """The CO₂ equivalents in grams that codecarbon (`--report_to codecarbon`) wrote into a run's folder, if it did.

    `None` where the file is not as codecarbon writes it.
    """
    path = Path(folder) / "emissions.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return 1000 * sum(float(row["emissions"]) for row in csv.DictReader(file))
        except (KeyError, TypeError, ValueError):
            return None


def task_of(model: object) -> str | None:
    """The Hub's name of what models of this class do; `None` for encoder-decoders, which may translate or summarize."""
    own = next((task for kind, task in _TASKS_OF_HEADS.items() if type(head_of(model)) is kind), None)
    if own is not None:
        return own
    classes = {base.__name__ for base in type(model).__mro__}
    known: dict[str, Any] = TASK_MAPPING
    tasks = [task for task, mapping in known.items() if classes & set(mapping.values())]
    if not tasks:  # a wrapper, or a class of one's own
        return "text-classification"
    return None if tasks[-1] == "text2text-generation" else tasks[-1]


def evaluation_of(state: TrainerState, best_is_loaded: bool) -> dict[str, float]:
    """The figures of the student's last evaluation by name, the training `step` first; empty when there was none.

    Args:
        state: What a `Trainer` remembers.
        best_is_loaded: Whether the best model takes the last one's place when training ends.
    """
    ended = max((place for place, log in enumerate(state.log_history) if "train_runtime" in log), default=-1)
    since = [log for log in state.log_history[ended + 1 :] if _figures(log)]
    logs = since or [log for log in state.log_history if _figures(log)]
    if not logs:
        return {}
    best = state.best_global_step if best_is_loaded and not since else None
    step = best or logs[-1]["step"]
    # Each of several evaluation sets has a log of its own.
    figures = [_figures(log) for log in logs if log["step"] == step]
    return {"step": step, **{name: value for each in figures for name, value in each.items()}}


def _figures(log: Mapping[str, Any]) -> dict[str, float]:
    return {
        name.removeprefix("eval_"): value
        for name, value in log.items()
        if name.startswith("eval_") and not name.endswith(COSTS) and isinstance(value, (int, float))
    }


def model_card(
    name: str, terms: Sequence[Mapping[str, Any]], training: Mapping[str, Any], facts: CardFacts
) -> ModelCard:
    """The card as the Hub shows it, metadata included.

    Args:
        name: The student's name.
        terms: `Objective.describe()` of what it was trained on.
        training: Names and values of the training arguments worth noting.
        facts: The rest.
    """
    base_model, tasks = _base_model(facts), _listed(facts.task)
    data = ModelCardData(
        language=_listed(facts.language) or None,
        license=one_line(facts.license) if facts.license else None,
        library_name=facts.form.library,
        pipeline_tag=tasks[0] if tasks else None,
        tags=list(dict.fromkeys(["distillation", "hfdistill", *facts.form.tags, *_listed(facts.tags), *tasks[1:]])),
        base_model=base_model,
        base_model_relation=("finetune" if facts.form.base is None else "adapter") if base_model else None,
        datasets=_dataset_tags(facts) or None,
        model_name=one_line(name),
        eval_results=_eval_results(facts),
        metrics=list(map(one_line, facts.comparison.models["student"].metrics)) if facts.comparison else None,
        **_emissions(facts),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(_sections(name, terms, training, facts)) + "\n")


def described_arguments(args: TrainingArguments, dtype: str = "float32") -> dict[str, Any]:
    """The arguments that a reader needs to train the same student again.

    Args:
        args: The arguments.
        dtype: Of the student's weights.
    """
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    # A number of steps goes before that of epochs, and stages bring lengths of their own.
    length = [] if getattr(args, "stages", None) else ["max_steps" if args.max_steps > 0 else "num_train_epochs"]
    names = ("learning_rate", *length, "lr_scheduler_type", "warmup_steps", "weight_decay", "optim", "seed")
    precision = next((name for name in ("bf16", "fp16") if getattr(args, name)), dtype)
    values = {name: getattr(args, name) for name in names}
    values = {name: getattr(value, "value", value) for name, value in values.items()}
    return {**values, "examples a step": batch, "precision": precision}


def _sections(
    name: str, terms: Sequence[Mapping[str, Any]], training: Mapping[str, Any], facts: CardFacts
) -> list[str]:
    code = usage_code(facts.form, _usage(name, facts))
    picture = Path(facts.folder) / TRADE_OFF
    sections = [
        f"# {escaped(name)}",
        f"{_origin(facts)}{_on_dataset(facts)}. {facts.form.sentence}",
        *_outcome(facts),
        f"![{TRADE_OFF_CAPTION}]({TRADE_OFF})" if facts.folder and picture.is_file() else "",
        *(["## Use", *code] if code else []),
        *_both_together(name, facts),
        *facts.notes,
        "## Limits",
        _limits(facts),
        *_details(terms, training, facts),
    ]
    return [section for section in sections if section]


def _usage(name: str, facts: CardFacts) -> Usage:
    location, folder = facts.location or name, Path(facts.folder)
    found = [path.relative_to(folder).as_posix() for path in folder.glob("onnx/*.onnx")] if facts.folder else []
    return Usage(location, _is_hub_name(location), next(iter(_listed(facts.task)), ""), facts.text_pair, found)


def _both_together(name: str, facts: CardFacts) -> list[str]:
    """How the teacher answers where the student is not sure: the threshold, what it gives, and code."""
    routing = facts.comparison.routing if facts.comparison is not None else None
    usage, teachers = _usage(name, facts), _listed(facts.teacher)
    if routing is None or routing.choice is None or not 0 < routing.choice.chosen.share < 1:
        return []
    told = ["## Use with its teacher", escaped(routing_sentence(facts.comparison))]  # type: ignore[arg-type]
    plain = usage.task == "text-classification" and facts.form.sentence == PLAIN_SENTENCE
    # Several labels have no one score, and an ensemble is no one model.
    if not plain or len(teachers) != 1 or facts.comparison.confusion is None:  # type: ignore[union-attr]
        return told
    trained = facts.teacher_trained and facts.folder
    folder = f"{usage.location}/_teacher" if trained else teachers[0]
    return [*told, routing_code(usage, folder, routing.choice.chosen.threshold)]


def _outcome(facts: CardFacts) -> list[str]:
    """What the student keeps and costs, the short way; without a comparison the last evaluation."""
    if facts.comparison is not None:
        brief = markdown_table(*facts.comparison.brief_rows())
        told = f"**{escaped(verdict(facts.comparison))}**"
        return [told, "## What was lost", brief, _reading(facts.comparison)]
    if not facts.evaluation:
        return []
    rows = [[figure, str(_short(value))] for figure, value in facts.evaluation.items()]
    return ["## On the evaluation set", markdown_table(["figure", "student"], rows)]


def _details(terms: Sequence[Mapping[str, Any]], training: Mapping[str, Any], facts: CardFacts) -> list[str]:
    """What few readers look for, folded."""
    sections = []
    if facts.comparison is not None:
        sections.append(_folded("All figures", facts.comparison.markdown()))
    if terms:
        sections.append(_folded("Objective", f"`{FORMULA}`", _terms_table(terms)))
    if training:
        rows = [[argument, str(_short(value))] for argument, value in training.items()]
        table = markdown_table(["argument", "value"], rows, align="---")
        sections.append(_folded("Training", _rows_sentence(facts), table, escaped(facts.advice)))
    packages = ("hfdistill", "transformers", "torch", "datasets", "accelerate")
    versions = "Versions: " + ", ".join(f"{package} {version(package)}" for package in packages) + "."
    command = code_block(_shown_command(facts.command), "bash") if facts.command else ""
    return [*sections, _folded("Reproduce", command, versions)]


def _folded(title: str, *sections: str) -> str:
    """Paragraphs that a click shows."""
    return "\n\n".join([f"<details>\n<summary>{title}</summary>", *filter(None, sections), "</details>"])


def _origin(facts: CardFacts) -> str:
    if not _listed(facts.teacher):
        return "Trained on labels alone"
    if facts.teacher_trained and facts.license:
        trained = f", which was fine-tuned first and whose license ({escaped(facts.license)}) holds here too; distilled"
    else:
        trained = ", which was fine-tuned first; distilled" if facts.teacher_trained else ""
    return f"A student distilled from {_quoted(facts.teacher)}{trained}"


def _reading(comparison: Comparison) -> str:
    text = f"Measured on {comparison.rows:,} {escaped(comparison.split)} rows, once, for one seed."
    text += f" {speed_sentence(comparison)}"
    if "accuracy" in comparison.models["student"].metrics:
        text += f" One row is {100 / comparison.rows:.2f} points of accuracy."
    if "baseline" in comparison.models:
        text += " The baseline is the same student, trained on the labels alone with the same budget."
    by_engine: dict[str, list[str]] = {}
    for name, model in comparison.models.items():
        if model.engine:
            by_engine.setdefault(model.engine, []).append(escaped(name))
    return text + "".join(
        f" In {' and '.join(names)} the student runs in {engine}." for engine, names in by_engine.items()
    )


def _short(value: Any) -> Any:
    """A number with as many digits as anybody reads."""
    return f"{value:.4g}" if isinstance(value, float) else value


def _limits(facts: CardFacts) -> str:
    text = (
        "The student learned from its teacher's predictions, the wrong and the unfair ones included: what the "
        "teacher's card warns of holds here too. "
        if _listed(facts.teacher)
        else ""
    )
    if facts.comparison is None:
        measured = "The figures are the student's alone" if facts.evaluation else "Nothing was measured yet"
        return f"{text}{measured}: compare it on texts of your own before you use it."
    datasets = escaped(_measured_on(facts)) or "one dataset"
    return text + (
        f"The figures are of {datasets} alone; texts of another kind, length or language were not tried. "
        "On rare classes and long texts a small model tends to lose more than the mean says."
    )


def _emissions(facts: CardFacts) -> dict[str, Any]:
    if facts.emissions_grams is None:
        return {}
    measured = {"emissions": round(facts.emissions_grams, 2), "source": "codecarbon", "training_type": "fine-tuning"}
    return {"co2_eq_emissions": measured}


def _terms_table(terms: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for term in terms:
        settings = {key: value for key, value in term.items() if key not in ("name", "weight", "term", "citation")}
        listed = ", ".join(f"{key} = {_short(value)}" for key, value in settings.items())
        rows.append([str(term["name"]), str(_short(term["weight"])), listed, link(str(term["citation"]))])
    return markdown_table(["term", "weight", "settings", "from"], rows, align="---")


def _rows_sentence(facts: CardFacts) -> str:
    if facts.labeled_rows is None:
        return ""
    rest = f", and {facts.unlabeled_rows:,} without, labeled by the teacher alone" if facts.unlabeled_rows else ""
    return f"{facts.labeled_rows:,} rows with labels{rest}."


def _measured_on(facts: CardFacts) -> str:
    """What the dataset of the figures is called."""
    return ", ".join(map(_shown, _listed(facts.measured_on or facts.dataset)))


def _eval_results(facts: CardFacts) -> list[EvalResult] | None:
    if facts.comparison is None:
        return None
    name = one_line(_measured_on(facts)) or "a dataset"
    return [
        EvalResult(
            task_type=next(iter(_listed(facts.task)), "other"),
            dataset_type=name if facts.measured_on else next(iter(_dataset_tags(facts)), name),
            dataset_name=name,
            dataset_split=one_line(facts.comparison.split),
            metric_type=one_line(metric),
            metric_value=round(value, 4),
        )
        for metric, value in facts.comparison.models["student"].metrics.items()
        if math.isfinite(value)
    ]


def _base_model(facts: CardFacts) -> str | None:
    """The one model on the Hub that the student comes from, where that is known; an adapter's is what it is for."""
    if facts.form.base is not None:
        return facts.form.base if _is_hub_name(facts.form.base) else None
    if facts.base_model is not None:
        return facts.base_model if _may_be_on_hub(facts.base_model) else teacher_base(facts.base_model)
    teachers = _listed(facts.teacher)
    if len(teachers) == 1 and os.path.isdir(teachers[0]):
        return teacher_base(teachers[0])
    return teachers[0] if len(teachers) == 1 and _is_hub_name(teachers[0]) else None


def _dataset_tags(facts: CardFacts) -> list[str]:
    return [name for name in _listed(facts.dataset_tags) if _may_be_on_hub(name)] or [
        name for name in _listed(facts.dataset) if _is_hub_name(name)
    ]


def _on_dataset(facts: CardFacts) -> str:
    part = f" ({_quoted(facts.dataset_args)})" if _listed(facts.dataset_args) else ""
    return f" on {_quoted(facts.dataset)}{part}" if _listed(facts.dataset) else ""


def _listed(given: str | Sequence[str] | None) -> list[str]:
    """One or several, each in one line, without the empty."""
    return [line for one in ([given] if isinstance(given, str) else given or ()) if (line := one_line(one))]


def _quoted(names: str | Sequence[str]) -> str:
    return ", ".join(code(_shown(name)) for name in _listed(names))


def _may_be_on_hub(name: str) -> bool:
    """Whether this may be a repository's name: a local folder's path is not for the world to read."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not os.path.exists(name)


def _is_hub_name(name: str) -> bool:
    """Likewise for what may be a word as well: without its owner a name is not taken for a repository's."""
    return "/" in name and _may_be_on_hub(name)


def _shown(name: str) -> str:
    return name if _is_hub_name(name) else Path(name).name


def _shown_command(words: Sequence[str]) -> str:
    """The command as the world may read it: without tokens, account and where files are kept."""
    shown: list[str] = []
    name = ""
    for word in words:
        is_option = word.startswith("--")
        option, equals, value = word.partition("=") if is_option else ("", "", word)
        name = option or name
        if name.endswith(("hub_model_id", "hub-model-id")):
            value = value.rpartition("/")[2]
        if not name.endswith("token"):
            shown.append(option + equals + without_places(value))
    return shlex.join(shown)
