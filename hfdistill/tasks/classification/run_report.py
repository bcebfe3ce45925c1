"""The end of a run: what the student keeps and costs, in a table, a report and its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.export.base import attempt_export
from hfdistill.models.labels import NO_LABEL
from hfdistill.online.trainer import OnlineTrainer
from hfdistill.report.card_facts import CardFacts, teacher_language, teacher_license
from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison
from hfdistill.report.terminal import begin_stage, own_command
from hfdistill.report.verdict import advice, training_of
from hfdistill.tasks.classification.data import TextClassificationData
from hfdistill.tasks.classification.report import compare
from hfdistill.tasks.demo import DEMO_NOTICE
from hfdistill.tasks.models import describe_teachers
from hfdistill.tasks.run_report import write_run
from hfdistill.teachers import TEACHER_LOGITS
from hfdistill.teachers.ensemble_model import EnsembleModel
from hfdistill.teachers.model import ModelTeacher
from hfdistill.training.trainer import DistillationTrainer


def report_run(
    trainer: DistillationTrainer,
    teachers: Sequence[ModelTeacher],
    data: TextClassificationData,
    *,
    baseline: DistillationTrainer | None = None,
    others: Mapping[str, PreTrainedModel] | None = None,
    formats: Sequence[str] = (),
    notes: Sequence[str | None] = (),
) -> Comparison | None:
    """Compare a trained student with its teacher, write report and card into its folder, and print the table.

    The rows are those of the split `test`, or else `validation`. What fails here, such as an export, costs no report:
    it is noted there.

    Args:
        trainer: The student's trainer, of an `OnlineTrainer` the trainer of all students.
        teachers: Its teachers; of several, their ensemble is measured. (Of an `OnlineTrainer`, the model that
            the students were made of: the second student stands in the teacher's column.)
        data: The texts.
        baseline: The trainer of the same student without a teacher.
        others: More trained models that read as the student does, by name.
        formats: What the student is exported as, such as `onnx` and `int8`.
        notes: Sentences for the report and the card; `None` is left out.

    Returns:
        The comparison; `None` on other processes than the main one, which do nothing.
    """
    begin_stage("Comparing the models.")
    if not trainer.is_world_process_zero():
        return None
    tokenizer: Any = trainer.processing_class
    student, teacher, reader, found = _measured(trainer, teachers)
    without_teacher: Any = baseline.model if baseline else None
    split = "test" if "test" in data.dataset else "validation"
    rows, held_out = (
        data.dataset[name].rename_columns({data.label_column: "labels"}) for name in (split, "validation")
    )
    attempt, folder = Attempts(), Path(str(trainer.args.output_dir))
    how = {"formats": formats, "text_columns": data.text_columns}
    exported = attempt_export(attempt, student, tokenizer, rows, folder, **how) if formats else {}
    comparison = compare(
        teacher,
        student,
        rows,
        processing_class=tokenizer,
        teacher_processing_class=reader,
        compute_metrics=data.metrics,
        baseline=without_teacher,
        others={**(others or {}), **exported},
        text_columns=data.text_columns,
        # Those of one teacher, run as it is measured here.
        reuse_soft_targets=TEACHER_LOGITS in rows.column_names and trainer.args.teacher_dtype == "auto",
        split=split,
        validation=held_out if split == "test" else None,
    )
    if isinstance(trainer, OnlineTrainer):
        comparison, advised = replace(comparison, taught=False, routing=None, doubted_labels=None), ""
    else:
        advised = advice(comparison, training_of(trainer, teacher, unlabeled_rows=_counted(data)[1]))
    checked = [f"{name} against the student: {one.parity}." for name, one in exported.items()]
    untrained = _untrained(trainer.state.log_history, comparison.main_metric)
    own = [*attempt.notes, *checked, found, untrained, DEMO_NOTICE if data.demo else ""]
    all_notes = [note for note in [*notes, *own] if note]
    facts = _card_facts(trainer, student, teachers, data, comparison, all_notes)
    write_run(trainer, comparison, facts, advised, baseline=baseline)
    return comparison


def _counted(data: TextClassificationData) -> tuple[int, int]:
    """How many training rows have a label, and how many have none."""
    labels = data.dataset["train"][data.label_column]
    first = (label[0] if isinstance(label, list) else label for label in labels)  # of several at once
    labeled = sum(label != NO_LABEL for label in first)
    return labeled, len(labels) - labeled


def _measured(
    trainer: DistillationTrainer, teachers: Sequence[ModelTeacher]
) -> tuple[PreTrainedModel, PreTrainedModel, PreTrainedTokenizerBase, str]:
    """The student, what stands for the teacher, the tokenizer that the latter reads with, and a note on it."""
    own: Any = trainer.processing_class
    if isinstance(trainer, OnlineTrainer):
        student, second, *_ = trainer.students
        return student, second, own, "There was no teacher: in its column is the second student."
    model: Any = trainer.model
    readers: list[Any] = [teacher.processing_class for teacher in teachers]
    first, tokenizer = teachers[0], readers[0]
    if len(teachers) == 1:
        return model, first.model, tokenizer, ""
    if any(reader.get_vocab() != tokenizer.get_vocab() for reader in readers):
        note = f"The first of {len(teachers)} teachers, whose vocabularies differ, was measured."
        return model, first.model, tokenizer, note
    ensemble = EnsembleModel([one.model for one in teachers], trainer.args.combination)
    return model, ensemble, tokenizer, f"The teacher is an ensemble of {len(teachers)}, measured as one model."


def _untrained(history: Sequence[Mapping[str, float]], metric: str) -> str:
    """What the student kept of its teacher before it was trained."""
    first = next((entry for entry in history if entry["step"] == 0), {})
    if f"eval_{metric}" not in first:
        return ""
    return f"Before any training the student had {metric} {first[f'eval_{metric}']:.4f} on the validation texts."


def _card_facts(
    trainer: DistillationTrainer,
    student: PreTrainedModel,
    teachers: Sequence[ModelTeacher],
    data: TextClassificationData,
    comparison: Comparison,
    notes: Sequence[str],
) -> CardFacts:
    labeled, unlabeled = _counted(data)
    online = isinstance(trainer, OnlineTrainer)
    # Where the student's weights come from, and with them its license.
    origin = student.config.name_or_path or teachers[0].name
    return CardFacts(
        teacher=["no teacher: students that taught one another"] if online else describe_teachers(teachers),
        dataset=data.name,
        measured_on=data.measured_on,
        comparison=comparison,
        command=own_command(),
        license=teacher_license(origin) if origin else None,
        language=teacher_language(origin) if origin else None,
        base_model=origin or None,
        teacher_trained=bool(teachers[0].name) and any(Path(str(trainer.args.output_dir)).glob("_teacher*")),
        text_pair=len(data.text_columns) > 1,
        labeled_rows=labeled,
        unlabeled_rows=unlabeled,
        notes=notes,
    )
