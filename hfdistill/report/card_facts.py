"""What a card tells, and where it is found: in the teacher's own card, the trainer's state and its arguments."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx
from transformers import TrainerState, TrainingArguments
from transformers.modelcard import TASK_MAPPING
from transformers.utils import logging

from hfdistill.models.heads import CandidateHead, ChoiceHead, EmbeddingHead, Head, head_of
from hfdistill.report.figures import Comparison
from hfdistill.report.names import is_hub_name
from hfdistill.report.saved_form import SavedForm

logger = logging.get_logger(__name__)

#: What `Trainer` logs with an evaluation that is not about the student's predictions.
COSTS = ("runtime", "_per_second", "_time")
#: The Hub's tasks that follow from a head and not from a model's class.
_TASKS_OF_HEADS: dict[type[Head], str] = {
    EmbeddingHead: "sentence-similarity",
    CandidateHead: "text-ranking",
    ChoiceHead: "multiple-choice",
}


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
    return str(bases[0]) if len(bases) == 1 and is_hub_name(str(bases[0])) else None


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
