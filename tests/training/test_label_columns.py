"""Labels on their way into a trainer: read as what they mean, or refused before anything is trained."""

import pytest
import torch
from datasets import Dataset
from tiny import (
    MULTI,
    REGRESSION,
    SINGLE,
    distance,
    make_args,
    make_model,
    make_rows,
    make_tokenizer,
    make_trainer,
    unlabel,
    weights,
)
from transformers import BertForTokenClassification, DataCollatorWithPadding

from hfdistill import DistillationTrainer


def with_labels(labels):
    rows = make_rows(len(labels), teacher_logits=True)
    return rows.remove_columns("labels").add_column("labels", labels)


def trained(out, labels, stream=False, **config):
    rows = with_labels(labels)
    rows = rows.to_iterable_dataset() if stream else rows
    trainer = make_trainer(out, make_model(1, **config), rows, alpha=0.3, max_steps=1, per_device_train_batch_size=8)
    trainer.train()
    return weights(trainer.model), trainer


@pytest.mark.parametrize("stream", [False, True], ids=["rows", "stream"])
@pytest.mark.parametrize(
    ("written", "meant", "config"),
    [
        ([0.0, 1.0, 2.0, 1.0], [0, 1, 2, 1], {}),
        ([0.0, 1.0, 2.0, 1.0], [0, 1, 2, 1], {"problem_type": SINGLE}),
        ([[0], [1], [2], [1]], [0, 1, 2, 1], {}),
        ([-1, 1, 2, -1], [-100, 1, 2, -100], {}),
        ([[0, 1, 1], [1, 0, 0]] * 2, [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]] * 2, {"problem_type": MULTI}),
    ],
    ids=["floats", "floats of single", "lists of one", "-1", "many-hot"],
)
def test_another_way_to_write_the_same_labels(tmp_path, written, meant, config, stream):
    """As pandas, SNLI or a many-hot encoder leave them; torch took them for something else or failed."""
    one, trainer = trained(tmp_path / "written", written, stream, **config)
    other, _ = trained(tmp_path / "meant", meant, **config)
    assert distance(one, other) < 1e-7
    assert distance(one, weights(make_model(1, **config))) > 1e-3
    expected = MULTI if isinstance(meant[0], list) else SINGLE
    assert trainer.model.config.problem_type == expected


@pytest.mark.parametrize(
    ("labels", "config", "sentence"),
    [
        ([1, 2, 3, 1], {}, "the label of row 2 in column 'labels' of train_dataset, 3, .*: they are numbered from 1"),
        ([0, 1, 2, -2], {}, "the label of row 3 in column 'labels' of train_dataset, -2, .* has no label write -100"),
        ([0.0, 0.5, 1.0, 1.0], {}, "row 1 in .*, 0.5, is no class"),
        ([[0, 1, 1]] * 4, {}, "row 0 in .* is a list of 3 labels, .* set config.problem_type = 'multi_label"),
        ([0, 1, 2, 1], {"problem_type": MULTI}, "row 0 in .* is 0, one class, and the model's problem_type is"),
        (["a", "b", "a", "b"], {}, "column 'labels' of train_dataset holds texts, such as 'a'"),
        ([1_700_000_000_000, 1_700_000_000_001] * 2, {}, "1700000000000 .*is this a column of ids or times"),
    ],
    ids=str,
)
def test_labels_that_do_not_fit_are_refused_before_training(tmp_path, labels, config, sentence):
    """In place of a traceback from within torch: column, row, value, way out."""
    rows, good = with_labels(labels), make_rows(4, config.get("problem_type", SINGLE), teacher_logits=True)
    with pytest.raises(ValueError, match=sentence):
        make_trainer(tmp_path, make_model(1, **config), rows)
    trainer = make_trainer(tmp_path, make_model(1, **config), good)
    with pytest.raises(ValueError, match=sentence.replace("train_dataset", "eval_dataset")):
        trainer.evaluate(rows)


def test_of_a_stream_each_batch_is_checked(tmp_path):
    with pytest.raises(ValueError, match="the label of row 2 in a batch, 3, is no class of the model"):
        trained(tmp_path, [1, 2, 3, 1], stream=True)


def test_a_column_that_a_transform_makes_is_checked_in_the_batch(tmp_path):
    """What is stored may be texts, and what comes out numbers."""
    rows = with_labels(["no", "yes", "no", "yes"])
    number = {"no": 0, "yes": 1}
    rows.set_transform(lambda batch: {**batch, "labels": [number[label] for label in batch["labels"]]})
    trainer = make_trainer(tmp_path, make_model(1), rows, alpha=0.3, max_steps=1, remove_unused_columns=True)
    trainer.train()
    assert trainer.state.log_history[0]["label_loss"] > 0


def test_the_problem_type_is_taken_from_the_teacher(tmp_path):
    """A student that does not say learns what its teacher knows."""
    student, teacher = make_model(1), make_model(2, problem_type=MULTI)
    rows = with_labels([[0, 1, 1]] * 4).remove_columns("teacher_logits")
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, max_steps=1)
    trainer.train()
    assert student.config.problem_type == MULTI


def test_scores_may_be_negative(tmp_path):
    scores = [-1.0, 2.0, -1.0, 0.5]
    rows = with_labels(scores).remove_columns("teacher_logits")
    trainer = make_trainer(tmp_path, make_model(1, num_labels=1, problem_type=REGRESSION), rows, alpha=0.0)
    batch = trainer.data_collator([{"input_ids": [2, 3], "labels": score} for score in scores])
    assert batch["labels"].tolist() == scores and batch["labels"].dtype == torch.float32


def test_labels_of_tokens_are_checked_as_such(tmp_path):
    """A row of them is no row of many labels at once."""
    config = make_model(1).config
    rows = make_rows(4).remove_columns("labels")
    known, unknown = (
        rows.map(lambda row: {"labels": [-100, *[last] * (len(row["input_ids"]) - 1)]})  # noqa: B023
        for last in (2, 3)
    )
    make_trainer(tmp_path, BertForTokenClassification(config), known)
    with pytest.raises(ValueError, match="row 0 in column 'labels' of train_dataset, 3 .*, is no class of the model"):
        make_trainer(tmp_path, BertForTokenClassification(config), unknown)


# ---- What a script of a newcomer gets wrong ----


def test_what_a_newcomers_script_forgets_is_named(tmp_path):
    """Each ended in a traceback from elsewhere, or trained on nothing."""
    texts = Dataset.from_dict({"review": ["a film", "no film"], "label": [0, 1]})
    args = make_args(tmp_path, alpha=0.0)
    with pytest.raises(ValueError, match=r"train_dataset has no input_ids, only review, label: .*rows\['review'\]"):
        DistillationTrainer(make_model(), args, train_dataset=texts, processing_class=make_tokenizer())
    with pytest.raises(
        ValueError, match="rows of eval_dataset have 4 to 11 tokens, .*: pass processing_class=tokenizer"
    ):
        DistillationTrainer(make_model(), args, eval_dataset=make_rows())
    even = make_rows().filter(lambda row: len(row["input_ids"]) == 8)
    DistillationTrainer(make_model(), args, eval_dataset=even)  # need no padding
    unlabeled = make_rows().rename_column("labels", "sentiment")
    for rows in (unlabeled, unlabel(make_rows(), range(16))):
        trainer = make_trainer(tmp_path, make_model(1), rows, alpha=0.0)
        with pytest.raises(
            ValueError, match="there is nothing to learn from: .* in a column labels .*, or pass a teacher"
        ):
            trainer.train()
        assert distance(weights(trainer.model), weights(make_model(1))) == 0


def test_labels_that_only_the_collator_makes_count(tmp_path):
    """Rows without a column of labels were taken to have none: alpha 1 would leave the labels out without a word."""
    rows, collator = (
        make_rows(8, teacher_logits=True).remove_columns("labels"),
        DataCollatorWithPadding(make_tokenizer()),
    )

    def with_made(features):
        return {**collator(features), "labels": torch.tensor([1] * len(features))}

    args = make_args(tmp_path, max_steps=1)
    trainer = DistillationTrainer(make_model(1), args, train_dataset=rows, data_collator=with_made)
    trainer.train()
    assert trainer.args.alpha == 0.5 and trainer.state.log_history[0]["label_loss"] > 0
