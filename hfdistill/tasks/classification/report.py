"""What a student classifier keeps of its teacher and what it costs: the same rows, predicted by every model."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

from hfdistill.data.rows import as_split
from hfdistill.models.inference import Classifier, predict_logits, token_rows
from hfdistill.models.inputs import max_positions, token_inputs
from hfdistill.models.labels import LABEL_COLUMNS, NO_LABEL, LabelSpace, names_of
from hfdistill.models.vocabularies import check_shared_tokens
from hfdistill.models.wrappers import config_of, unwrapped
from hfdistill.report.comparison import check_models, compare_models
from hfdistill.report.cost import MeasuredModel, Rows, megaflops, peak_megabytes
from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison, ModelFigures
from hfdistill.report.quality import REGRESSION, SINGLE
from hfdistill.report.routing import TOLERANCE, check_limits
from hfdistill.report.timing import latencies_ms, throughput
from hfdistill.tasks.classification.metrics import classification_metrics
from hfdistill.tasks.classification.predictions import Predictions
from hfdistill.teachers.base import TEACHER_LABEL, TEACHER_LOGITS

_GIVEN_AS = "teacher_processing_class=tokenizer"
_OTHER_TOKENIZER = f"compare them on text (text_columns=[...]), with {_GIVEN_AS} for the teacher's own tokenizer."


def compare(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    dataset: Dataset,
    processing_class: PreTrainedTokenizerBase,
    *,
    compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
    baseline: PreTrainedModel | None = None,
    others: Mapping[str, Classifier] | None = None,
    text_columns: str | Sequence[str] = (),
    teacher_processing_class: PreTrainedTokenizerBase | None = None,
    reuse_soft_targets: bool = False,
    split: str = "test",
    validation: Dataset | None = None,
    tolerance: float = TOLERANCE,
    max_share: float = 1.0,
) -> Comparison:
    """Measures classifiers on the same rows: task metrics, agreement, calibration, size and speed.

    Speed is measured on the device each model is on, in turns, so that a machine whose speed drifts does not favor
    one of them; models that are one network, as student and baseline, are measured once and show one speed.
    Translators are compared by `compare_translations`.

    Args:
        teacher: The teacher; its labels, as those of the other models and of the rows, are put into the student's
            order by name.
        student: The student.
        dataset: Rows with `label` or `labels` (−100, and among classes −1, is none), and text or the token columns that
            all models share.
        processing_class: The student's tokenizer.
        compute_metrics: As for `Trainer`; by default those of `classification_metrics` for the student's head.
        baseline: The same student trained without the teacher.
        others: More models that read as the student does, by role: the student as `export_onnx` made it, or another.
            An export that was checked on these rows is not run on them again.
        text_columns: The columns of raw text, one or a pair. Without them the rows bring their tokens, or they have a
            single column of text, which is read.
        teacher_processing_class: The teacher's tokenizer, when it is another.
        reuse_soft_targets: Whether the rows' `teacher_logits`, which `soft_targets` made with this teacher, are taken
            for its predictions: it is run for its speed alone then.
        split: What to call the rows.
        validation: Other labeled rows, of the same columns, to choose a threshold on: the student passes on to its
            teacher the texts of which it is less sure (`choose_threshold`). Without them the curve alone is measured.
        tolerance: How far below the teacher's the main metric may be then.
        max_share: The most texts that may be passed on.

    Raises:
        TypeError: for a name or path in place of a model.
        ValueError: when there are no rows, they have no labels, none that fit the student or nothing to read, or the
            models or the rows solve different tasks or read the same token ids with different vocabularies.
    """
    trained = {"teacher": teacher, "student": student, **({} if baseline is None else {"baseline": baseline})}
    check_limits(tolerance, max_share)
    config = _student_config(trained)
    dataset = as_split(dataset)
    text_columns = _text_columns(dataset, (text_columns,) if isinstance(text_columns, str) else tuple(text_columns))
    space = LabelSpace.of_config(config)
    labels = labels_of(dataset, space)
    if not text_columns or teacher_processing_class is None:  # the teacher reads the student's token ids
        check_shared_tokens(
            teacher, teacher_processing_class, student, processing_class, _OTHER_TOKENIZER, given_as=_GIVEN_AS
        )
    tokenizers = dict.fromkeys(trained, processing_class) | {"teacher": teacher_processing_class or processing_class}
    models = _workloads(trained, tokenizers, dataset, text_columns)
    rows = models["student"].rows
    models |= {role: MeasuredModel(model, processing_class, rows) for role, model in (others or {}).items()}
    how = config.problem_type, compute_metrics or metrics_of(config)
    stored = {"teacher": _stored_logits(dataset, teacher)} if reuse_soft_targets else {}
    logits = {role: _logits(role, one, space, stored.get(role)) for role, one in models.items()}
    predictions, attempt, held_out = Predictions(logits, labels, *how), Attempts(), None
    if validation is not None:
        both = {role: trained[role] for role in ("teacher", "student")}
        stored = {"teacher": _stored_logits(validation, teacher)} if reuse_soft_targets else {}
        read = _workloads(both, tokenizers, validation, text_columns)
        logits = {role: _logits(role, one, space, stored.get(role)) for role, one in read.items()}
        held_out = Predictions(logits, labels_of(validation, space), *how)
    return compare_models(
        models,
        partial(_figures, predictions, models, attempt),
        latencies_ms(models),
        throughput(models),
        rows=len(labels),
        split=split,
        attempt=attempt,
        kinds=(Comparison, ModelFigures),
        **_differences(predictions, names_of(config), rows, [dataset[name] for name in text_columns], attempt),
        routing=attempt("both models together", partial(predictions.routing, held_out, (tolerance, max_share))),
    )


def _figures(
    predictions: Predictions, models: Mapping[str, MeasuredModel], attempt: Attempts, role: str
) -> dict[str, Any]:
    """The figures of a model that are a classifier's alone."""
    return {
        **predictions.figures(role),
        "megaflops": attempt(f"the operations of {role}", partial(megaflops, models[role])),
        "peak_megabytes": attempt(f"the peak memory of {role}", partial(peak_megabytes, models[role])),
    }


def _differences(
    predictions: Predictions, names: list[str], rows: Rows, texts: Sequence[Sequence[str]], attempt: Attempts
) -> dict[str, Any]:
    """Where the models differ: by class, by length, on which texts."""
    lengths = [len(row["input_ids"]) for row in rows]
    joined = [" | ".join(pair) for pair in zip(*texts, strict=True)]
    differences = attempt("what differs by class and length", partial(predictions.differences, names, lengths))
    examples = attempt("examples of disagreements", partial(predictions.disagreements, names, joined))
    doubted = attempt("labels to check", partial(predictions.doubted_labels, names, joined))
    found = {"disagreements": examples or [], "doubted_labels": doubted, "label_names": names}
    return {**(differences or {}), **found}


def _student_config(models: Mapping[str, PreTrainedModel]) -> Any:
    """The student's config, when all are classifiers."""
    check_models(models, "AutoModelForSequenceClassification")
    for role, model in models.items():
        if (name := type(unwrapped(model)).__name__) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values():
            raise ValueError(f"the {role} is a {name}, which writes texts: compare those with compare_translations.")
    return config_of(models["student"])


def metrics_of(config: Any) -> Callable[[EvalPrediction], dict[str, float]]:
    """The usual metrics of a head."""
    return classification_metrics(
        problem_type=config.problem_type or (REGRESSION if config.num_labels == 1 else SINGLE)
    )


def _text_columns(dataset: Dataset, given: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of raw text; none where the rows bring their tokens."""
    if len(dataset) == 0:
        raise ValueError("compare needs rows to measure on, and the dataset has none.")
    found: tuple[str, ...] = given
    if not given and "input_ids" not in dataset.column_names:
        kinds = {name: getattr(feature, "dtype", None) for name, feature in dataset.features.items()}
        texts = [name for name, kind in kinds.items() if kind in ("string", "large_string")]
        texts = [name for name in texts if name not in LABEL_COLUMNS]
        found = tuple(texts) if len(texts) == 1 else ()
    missing = [name for name in found or ("input_ids",) if name not in dataset.column_names]
    if missing:
        way_out = "name the columns of raw text" if given else "tokenize them, or name their text"
        raise ValueError(
            f"compare found no column {', '.join(missing)}; the rows have {', '.join(dataset.column_names)}: {way_out} "
            "with text_columns=[...]."
        )
    return found


def labels_of(dataset: Dataset, space: LabelSpace) -> np.ndarray:
    """The rows' labels as the student numbers them, -100 where there is none."""
    for column in LABEL_COLUMNS:
        if column in dataset.column_names:
            labels = space.read_column(dataset, column, "the rows")
            numbering = space.numbering_of({column: dataset.features[column]}, "the dataset")
            if numbering is None:
                return labels
            return np.where(labels == NO_LABEL, NO_LABEL, np.asarray(numbering)[np.maximum(labels, 0)])
    raise ValueError(f"compare needs a column label or labels; the rows have {', '.join(dataset.column_names)}.")


def _workloads(
    models: Mapping[str, PreTrainedModel],
    tokenizers: Mapping[str, PreTrainedTokenizerBase],
    dataset: Dataset,
    text_columns: tuple[str, ...],
) -> dict[str, MeasuredModel]:
    """Each model with what it reads of the rows, which are tokenized once for all that read alike."""
    read: dict[Hashable, list[dict[str, list[int]]]] = {}
    workloads = {}
    for role, model in models.items():
        tokenizer = tokenizers[role]
        how = id(tokenizer), token_inputs(model), max_positions(model, tokenizer)
        if how not in read:
            read[how] = token_rows(model, tokenizer, dataset, text_columns)
        workloads[role] = MeasuredModel(model, tokenizer, read[how])
    return workloads


def _stored_logits(dataset: Dataset, teacher: PreTrainedModel) -> tuple[np.ndarray, LabelSpace]:
    """The rows' soft targets, and the labels in their order."""
    if TEACHER_LOGITS not in dataset.column_names:
        raise ValueError(f"compare needs rows with {TEACHER_LOGITS}: make them with soft_targets(teacher, ...).")
    label = dataset.features.get(TEACHER_LABEL)
    named = isinstance(label, ClassLabel)
    space = LabelSpace.of_names(label.names) if named else LabelSpace.of_config(config_of(teacher))
    return np.asarray(dataset.with_format(None)[TEACHER_LOGITS][:], dtype=np.float32), space


def _logits(
    role: str, one: MeasuredModel, space: LabelSpace, stored: tuple[np.ndarray, LabelSpace] | None
) -> np.ndarray:
    """A model's logits of its rows in the student's order of labels, shape `(rows, classes)`."""
    logits, own = stored or (None, LabelSpace.of_config(config_of(one.model)))
    order = space.order_in(own, role)
    checked = getattr(one.model, "checked", None)
    if checked is not None and checked.rows == one.rows:
        logits = checked.logits
    if logits is None:
        logits = predict_logits(one.model, one.processing_class, one.rows, description=f"Running the {role}")
    return logits if order is None else logits[:, order]
