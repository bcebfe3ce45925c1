"""The card of a distilled student, written from what was really trained and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from hfdistill.report.card_facts import CardFacts
from hfdistill.report.card_metadata import card_metadata, measured_on
from hfdistill.report.figures import Comparison
from hfdistill.report.findings import routing_sentence, speed_sentence
from hfdistill.report.markdown import code_block, escaped, link, markdown_table
from hfdistill.report.names import is_hub_name, listed, quoted, shown_command
from hfdistill.report.results import TRADE_OFF, TRADE_OFF_CAPTION
from hfdistill.report.saved_form import PLAIN_SENTENCE
from hfdistill.report.snippets import Usage, routing_code, usage_code
from hfdistill.report.verdict import verdict

FORMULA = "loss = Σ weight · term; soft targets: T² · D(softmax(teacher / T), softmax(student / T))"


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
    data = card_metadata(name, facts)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(_sections(name, terms, training, facts)) + "\n")


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
    return Usage(location, is_hub_name(location), next(iter(listed(facts.task)), ""), facts.text_pair, found)


def _both_together(name: str, facts: CardFacts) -> list[str]:
    """How the teacher answers where the student is not sure: the threshold, what it gives, and code."""
    routing = facts.comparison.routing if facts.comparison is not None else None
    usage, teachers = _usage(name, facts), listed(facts.teacher)
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
    command = code_block(shown_command(facts.command), "bash") if facts.command else ""
    return [*sections, _folded("Reproduce", command, versions)]


def _folded(title: str, *sections: str) -> str:
    """Paragraphs that a click shows."""
    return "\n\n".join([f"<details>\n<summary>{title}</summary>", *filter(None, sections), "</details>"])


def _origin(facts: CardFacts) -> str:
    if not listed(facts.teacher):
        return "Trained on labels alone"
    if facts.teacher_trained and facts.license:
        trained = f", which was fine-tuned first and whose license ({escaped(facts.license)}) holds here too; distilled"
    else:
        trained = ", which was fine-tuned first; distilled" if facts.teacher_trained else ""
    return f"A student distilled from {quoted(facts.teacher)}{trained}"


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
        if listed(facts.teacher)
        else ""
    )
    if facts.comparison is None:
        measured = "The figures are the student's alone" if facts.evaluation else "Nothing was measured yet"
        return f"{text}{measured}: compare it on texts of your own before you use it."
    datasets = escaped(measured_on(facts)) or "one dataset"
    return text + (
        f"The figures are of {datasets} alone; texts of another kind, length or language were not tried. "
        "On rare classes and long texts a small model tends to lose more than the mean says."
    )


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


def _on_dataset(facts: CardFacts) -> str:
    part = f" ({quoted(facts.dataset_args)})" if listed(facts.dataset_args) else ""
    return f" on {quoted(facts.dataset)}{part}" if listed(facts.dataset) else ""
