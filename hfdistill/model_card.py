"""The card of a distilled student, written from what was really trained and measured."""

from __future__ import annotations

import csv
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PureWindowsPath
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import TrainingArguments

from hfdistill.report import Comparison

FORMULA = "loss = Σ weight · term; soft targets: T² · D(softmax(teacher / T), softmax(student / T))"


@dataclass(frozen=True)
class CardFacts:
    """What a card says beside what the trainer knows.

    Args:
        teacher: The teacher's name on the Hub, or a word for it. A local path is never printed: its last part is.
        dataset: The dataset's name on the Hub, or a word for it; likewise.
        comparison: The measured models.
        command: The words of the command that was run. Local paths are shortened to their last part, and a token is
            left out.
        licence: The teacher's licence, as its card says it.
        labelled_rows: How many rows had labels.
        unlabelled_rows: How many had none and were labelled by the teacher alone.
        task: The Hub's name of what the student does.
        emissions_grams: CO₂ equivalents of the training in grams, as codecarbon measured them.
        notes: Sentences on how the student came about.
    """

    teacher: str
    dataset: str
    comparison: Comparison | None = None
    command: Sequence[str] = ()
    licence: str | None = None
    labelled_rows: int | None = None
    unlabelled_rows: int = 0
    task: str = "text-classification"
    emissions_grams: float | None = None
    notes: Sequence[str] = ()


def teacher_licence(name: str) -> str | None:
    """The licence that a teacher's own card names, in its folder or on the Hub; `None` where there is no such card.

    A student made of its teacher's weights is under its teacher's licence.
    """
    folder = Path(name)
    try:
        card = ModelCard.load(folder / "README.md" if folder.exists() else name)
    except (OSError, ValueError):  # no card, no network, or front matter that cannot be read
        return None
    return card.data.license if isinstance(card.data.license, str) else None


def measured_emissions(folder: str | os.PathLike[str]) -> float | None:
    """The CO₂ equivalents in grams that codecarbon (`--report_to codecarbon`) wrote into a run's folder, if it did."""
    path = Path(folder) / "emissions.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        return 1000 * sum(float(row["emissions"]) for row in csv.DictReader(file))


def model_card(
    name: str, terms: Sequence[Mapping[str, Any]], training: Mapping[str, Any], facts: CardFacts
) -> ModelCard:
    """The card as the Hub shows it, metadata included.

    Args:
        name: The student's name.
        terms: `Objective.describe()` of what it was trained on.
        training: Names and values of the training arguments worth telling.
        facts: The rest.
    """
    data = ModelCardData(
        license=facts.licence,
        library_name="transformers",
        pipeline_tag=facts.task,
        tags=["distillation", "hfdistill"],
        base_model=facts.teacher if _is_hub_name(facts.teacher) else None,
        base_model_relation="finetune" if _is_hub_name(facts.teacher) else None,
        datasets=[facts.dataset] if _is_hub_name(facts.dataset) else None,
        model_name=name,
        eval_results=_eval_results(facts),
        metrics=list(facts.comparison.models["student"].metrics) if facts.comparison else None,
        **_emissions(facts),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(_sections(name, terms, training, facts)) + "\n")


def told_arguments(args: TrainingArguments) -> dict[str, Any]:
    """The arguments that a reader needs to train the same student again."""
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    names = ("learning_rate", "num_train_epochs", "lr_scheduler_type", "warmup_steps", "weight_decay", "optim", "seed")
    precision = next((name for name in ("bf16", "fp16") if getattr(args, name)), "float32")
    told = {name: getattr(args, name) for name in names}
    told = {name: getattr(value, "value", value) for name, value in told.items()}
    return {**told, "examples a step": batch, "precision": precision}


def _sections(
    name: str, terms: Sequence[Mapping[str, Any]], training: Mapping[str, Any], facts: CardFacts
) -> list[str]:
    sections = [
        f"# {name}",
        f"A student distilled from `{_shown(facts.teacher)}` on `{_shown(facts.dataset)}`. It is a plain transformers "
        "model and loads without any other package.",
    ]
    if facts.comparison is not None:
        sections += ["## What was lost", facts.comparison.markdown(), _reading(facts.comparison)]
    sections += facts.notes
    sections += ["## Limits", _limits(facts)]
    if terms:
        sections += ["## Objective", f"`{FORMULA}`", _terms_table(terms)]
    if training:
        arguments = "\n".join(f"| {key} | {_short(value)} |" for key, value in training.items())
        sections += ["## Training", _rows_sentence(facts), f"| argument | value |\n|---|---|\n{arguments}"]
    if facts.command:
        sections += ["## Reproduce", f"```bash\n{_shown_command(facts.command)}\n```"]
    packages = ("hfdistill", "transformers", "torch", "datasets", "accelerate")
    sections.append("Versions: " + ", ".join(f"{package} {version(package)}" for package in packages) + ".")
    return [section for section in sections if section]


def _reading(comparison: Comparison) -> str:
    text = f"Measured on {comparison.rows:,} {comparison.split} rows, once, for one seed; speed on {comparison.device}."
    if "accuracy" in comparison.models["student"].metrics:
        text += f" One row is {100 / comparison.rows:.2f} points of accuracy."
    if "baseline" in comparison.models:
        text += " The baseline is the same student, trained on the labels alone with the same budget."
    if exported := [name for name in ("onnx", "int8") if name in comparison.models]:
        text += f" In {' and '.join(exported)} the student runs in ONNX Runtime."
    return text


def _short(value: Any) -> Any:
    """A number with as many digits as anybody reads."""
    return f"{value:.4g}" if isinstance(value, float) else value


def _limits(facts: CardFacts) -> str:
    text = (
        "The student learnt from its teacher's answers, the wrong and the unfair ones included: what the teacher's "
        "card warns of holds here too. "
    )
    if facts.comparison is None:
        return text + "Nothing was measured yet: compare it with its teacher on texts of your own before you use it."
    return text + (
        f"The figures are of {_shown(facts.dataset)} alone; texts of another kind, length or language were not tried. "
        "On rare classes and long texts a small model tends to lose more than the mean says."
    )


def _emissions(facts: CardFacts) -> dict[str, Any]:
    if facts.emissions_grams is None:
        return {}
    told = {"emissions": round(facts.emissions_grams, 2), "source": "codecarbon", "training_type": "fine-tuning"}
    return {"co2_eq_emissions": told}


def _terms_table(terms: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| term | weight | settings | from |", "|---|---|---|---|"]
    for term in terms:
        settings = {key: value for key, value in term.items() if key not in ("name", "weight", "term", "citation")}
        listed = ", ".join(f"{key} = {_short(value)}" for key, value in settings.items())
        lines.append(f"| {term['name']} | {_short(term['weight'])} | {listed} | {term['citation']} |")
    return "\n".join(lines)


def _rows_sentence(facts: CardFacts) -> str:
    if facts.labelled_rows is None:
        return ""
    rest = f", and {facts.unlabelled_rows:,} without, labelled by the teacher alone" if facts.unlabelled_rows else ""
    return f"{facts.labelled_rows:,} rows with labels{rest}."


def _eval_results(facts: CardFacts) -> list[EvalResult] | None:
    if facts.comparison is None:
        return None
    name = _shown(facts.dataset)
    return [
        EvalResult(
            task_type=facts.task,
            dataset_type=facts.dataset if _is_hub_name(facts.dataset) else name,
            dataset_name=name,
            dataset_split=facts.comparison.split,
            metric_type=metric,
            metric_value=round(value, 4),
        )
        for metric, value in facts.comparison.models["student"].metrics.items()
        if math.isfinite(value)
    ]


def _is_hub_name(name: str) -> bool:
    """Whether this may be a repository's name: a local folder's path is not for the world to read."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name and not os.path.exists(name)


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
            shown.append(option + equals + _shown_path(value))
    return shlex.join(shown)


def _shown_path(value: str) -> str:
    """The last part of a path that leads out of the working folder; anything else as it is."""
    leads_out = value.startswith(("/", "~")) or ".." in Path(value).parts or PureWindowsPath(value).is_absolute()
    return PureWindowsPath(value).name if leads_out else value
