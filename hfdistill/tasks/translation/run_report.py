"""The end of a run: what a translation student keeps and costs, in a table, a report and its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hfdistill.export.base import attempt_export
from hfdistill.report.card_facts import CardFacts, teacher_language, teacher_license
from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison
from hfdistill.report.terminal import begin_stage, own_command
from hfdistill.report.verdict import advice, training_of
from hfdistill.tasks.demo import DEMO_NOTICE
from hfdistill.tasks.run_report import write_run
from hfdistill.tasks.translation.data import TranslationData
from hfdistill.tasks.translation.models import Translator
from hfdistill.tasks.translation.report import compare_translations, write_translations
from hfdistill.teachers.translator_ensemble import member_names
from hfdistill.training.seq2seq import Seq2SeqDistillationTrainer

#: Sentences that an exported student is compared with its original on.
CHECKED_TEXTS = 500


def report_translation_run(
    trainer: Seq2SeqDistillationTrainer,
    teacher: Translator,
    data: TranslationData,
    *,
    baseline: Seq2SeqDistillationTrainer | None = None,
    formats: Sequence[str] = (),
    num_beams: int = 5,
    max_length: int = 128,
    translations: object = None,
    vocabulary: object = None,
) -> Comparison | None:
    """Compare a trained student with its teacher, write report and card into its folder, and print the table.

    The rows are those of the split `test`, or else `validation`. What fails here, such as an export, costs no report:
    it is noted there.

    Args:
        trainer: The student's trainer.
        teacher: Its teacher.
        data: The texts; monolingual ones count as learned from.
        baseline: The trainer of the same student without a teacher.
        formats: What the student is exported as, such as `ctranslate2`.
        num_beams: Width of the beam search.
        max_length: The most tokens of a text on either side.
        translations: What `transfer_set` reports, where the student learned from the teacher's translations.
        vocabulary: The student's, where it was trimmed (`TrimmedVocabulary`).

    Returns:
        The comparison; `None` on other processes than the main one, which do nothing.
    """
    begin_stage("Comparing the models.")
    if not trainer.is_world_process_zero():
        return None
    trainers = {"student": trainer, **({"baseline": baseline} if baseline else {})}
    tokenizer: Any = trainer.processing_class
    folder = Path(str(trainer.args.output_dir))
    models: dict[str, Any] = {"teacher": teacher.model, **{role: one.model for role, one in trainers.items()}}
    rows, search = data.dataset[data.measured_split], {"num_beams": num_beams, "max_length": max_length}
    learned = [f"The student learned from the teacher's translations: {translations}"] if translations else []
    trimmed = [str(vocabulary)] if vocabulary else []
    cleaned = [report.sentence() for report in data.cleanings]
    notes, attempt = [*([DEMO_NOTICE] if data.demo else []), *cleaned, *learned, *trimmed], Attempts()
    how: dict[str, Any] = {"formats": formats, "task": "translation", **search}
    texts = rows[data.source][:CHECKED_TEXTS]
    exported = attempt_export(attempt, trainer.model, tokenizer, texts, folder, **how) if formats else {}
    models |= exported
    notes += [f"{name} against the student: {one.parity}." for name, one in exported.items()]
    comparison = compare_translations(
        models,
        {role: teacher.tokenizer if role == "teacher" else tokenizer for role in models},
        rows,
        source=data.source,
        target=data.target,
        split=data.measured_split,
        **search,
    )
    pages = attempt("the page of translations", partial(write_translations, folder, comparison))
    for report in data.cleanings:
        attempt("the report on cleaning", partial(report.write, folder / "report"))
    notes += attempt.notes
    known = {"unlabeled_rows": len(data.monolingual or ()), "layers_option": "--student_num_decoder_layers"}
    advised = advice(comparison, training_of(trainer, teacher.model, **known))
    facts = _card_facts(trainer.model, teacher, data, comparison, notes)
    if translations:  # which are told of in the notes: no pair of the user's was learned from
        facts = replace(facts, labeled_rows=None, unlabeled_rows=0)
    trained = bool(teacher.model.config.name_or_path) and (folder / "_teacher").exists()
    facts = replace(facts, teacher_trained=trained)
    write_run(trainer, comparison, facts, advised, baseline=baseline, report_notes=[pages] if pages else [])
    return comparison


def _card_facts(
    student: Any, teacher: Translator, data: TranslationData, comparison: Comparison, notes: Sequence[str]
) -> CardFacts:
    name = teacher.model.config.name_or_path
    # Where the student's weights come from, and with them its license.
    origin = student.config.name_or_path or name or None
    languages = [language for language in (data.source, data.target) if len(language) == 2]
    return CardFacts(
        teacher=member_names(teacher.model)
        or f"a small Marian trained by this command on {data.source} and {data.target}",
        dataset=data.name,
        measured_on=data.measured_on,
        comparison=comparison,
        command=own_command(),
        labeled_rows=len(data.dataset["train"]),
        unlabeled_rows=0 if data.monolingual is None else len(data.monolingual),
        task="translation",
        license=teacher_license(origin) if origin else None,
        language=languages if len(languages) == 2 else teacher_language(origin) if origin else None,
        base_model=origin,
        notes=notes,
    )
