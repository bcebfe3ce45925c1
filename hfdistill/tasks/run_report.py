"""The end of a run, whatever its task: the comparison, written as a report and a card, and printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from hfdistill.models.wrappers import without_adapters
from hfdistill.report.card_facts import CardFacts, measured_emissions, task_of, teacher_language, teacher_license
from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison
from hfdistill.report.results import write_report
from hfdistill.report.terminal import begin_stage, own_command, print_outcome
from hfdistill.report.verdict import advice, training_of
from hfdistill.tasks.comparison import compare
from hfdistill.tasks.demo import DEMO_NOTICE
from hfdistill.training.trackers import log_report
from hfdistill.training.trainer import DistillationTrainer


def report_student(
    trainer: DistillationTrainer,
    teacher: PreTrainedModel,
    rows: Any,
    *,
    baseline: DistillationTrainer | None = None,
    dataset: str = "",
    demo: bool = False,
    notes: Sequence[str | None] = (),
    facts: CardFacts | None = None,
    **settings: Any,
) -> Comparison | None:
    """Compare a trained student of any head with its teacher, write report and card, and print the table.

    Classifiers of text and translators have `report_run` and `report_translation_run`, which know their data.

    Args:
        trainer: The student's trainer.
        teacher: Its teacher.
        rows: What to measure on, as `compare` takes it.
        baseline: The trainer of the same student without a teacher.
        dataset: What the rows are of: a name on the Hub, or a word.
        demo: Whether they were generated.
        notes: Sentences for the report and the card; `None` is left out.
        facts: What else the card holds.
        **settings: As for `compare`.

    Returns:
        The comparison; `None` on other processes than the main one, which do nothing.
    """
    begin_stage("Comparing the models.")
    if not trainer.is_world_process_zero():
        return None
    student: Any = trainer.model
    without_teacher = {} if baseline is None else {"baseline": baseline.model}
    comparison = compare(teacher, student, rows, trainer.processing_class, **without_teacher, **settings)
    name = teacher.config.name_or_path
    known = facts or CardFacts(teacher=name or f"a {type(teacher).__name__}", dataset=dataset)
    known = replace(
        known,
        comparison=comparison,
        command=own_command(),
        task=task_of(without_adapters(student)),
        notes=[note for note in [*notes, DEMO_NOTICE if demo else ""] if note],
        **_origin(student.config.name_or_path or name or ""),
    )
    # Not every recipe takes texts without labels; of an encoder-decoder the decoder is what is made smaller.
    layers = {"layers_option": "--student_num_decoder_layers"} if student.config.is_encoder_decoder else {}
    advised = advice(comparison, training_of(trainer, teacher, unlabeled_option="", **layers))
    write_run(trainer, comparison, known, advised, baseline=baseline)
    return comparison


def _origin(name: str) -> dict[str, Any]:
    """What follows from where a student's weights come from, and with them its license."""
    return {"base_model": name, "license": teacher_license(name), "language": teacher_language(name)} if name else {}


def write_run(
    trainer: DistillationTrainer,
    comparison: Comparison,
    facts: CardFacts,
    advised: str = "",
    *,
    baseline: DistillationTrainer | None = None,
    report_notes: Sequence[str] = (),
) -> None:
    """Write report and card into a run's folder, and print what it comes to.

    Args:
        trainer: The student's trainer.
        comparison: The measured models.
        facts: What the card holds; its notes are the report's, too.
        advised: What to try first, in plain text.
        baseline: The trainer of the same student without a teacher.
        report_notes: More sentences, for the report alone.
    """
    attempt, folder = Attempts(), Path(str(trainer.args.output_dir))
    histories = {"student": trainer.state.log_history, **({"baseline": baseline.state.log_history} if baseline else {})}
    write_report(folder, comparison, histories, [*facts.notes, *report_notes], advised)
    trainer.card_facts = replace(facts, advice=advised, emissions_grams=measured_emissions(folder))
    attempt("the model card", trainer.create_model_card)
    attempt("the report in the trackers", partial(log_report, trainer, comparison))
    print_outcome(comparison, advised, facts.notes, folder)
