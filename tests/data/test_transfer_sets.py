"""Few labels among many rows: which are kept, and how rows with and without mix in a batch."""

from collections import Counter

import pytest
import torch
from datasets import ClassLabel, Dataset
from tiny import (
    MULTI,
    distance,
    logits_of,
    make_args,
    make_model,
    make_rows,
    make_trainer,
    naive_label_loss,
    naive_soft_target_loss,
    unlabel,
    weights,
)
from transformers import TrainerCallback

from hfdistill.data.few_labels import LabeledShareSampler, keep_labels, labeled_rows, mix, settle_alpha, share_of_labels


def kept(dataset, column="labels"):
    return [row for row, label in enumerate(dataset[column]) if label != -100]


# ---- Which labels are kept ----


@pytest.fixture
def skewed():
    """200 rows of three classes in the proportions 150 : 45 : 5, and one row without a label."""
    labels = [0] * 150 + [1] * 45 + [2] * 5 + [-100]
    return Dataset.from_dict({"text": [str(row) for row in range(201)], "labels": labels})


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.03, {0: 4, 1: 1, 2: 1}), (0.2, {0: 30, 1: 9, 2: 1}), (1.0, {0: 150, 1: 45, 2: 5})]
)
def test_every_class_keeps_its_share(skewed, fraction, expected):
    """By chance alone, 3 % would often leave a rare class without any label."""
    fewer = keep_labels(skewed, fraction)
    counts = Counter(fewer["labels"])
    assert {label: counts[label] for label in expected} == expected
    assert counts[-100] == 201 - sum(expected.values())
    assert fewer["text"][:] == skewed["text"][:]
    assert all(fewer["labels"][row] == skewed["labels"][row] for row in kept(fewer))


def test_fractions_are_nested_and_seeds_differ(skewed):
    """A curve over fractions would otherwise compare luck with luck."""
    small, large = set(kept(keep_labels(skewed, 0.1))), set(kept(keep_labels(skewed, 0.3)))
    assert small < large
    assert kept(keep_labels(skewed, 0.1)) == kept(keep_labels(skewed, 0.1))
    assert small != set(kept(keep_labels(skewed, 0.1, seed=1)))


def test_the_column_stays_what_it_is(text_dataset):
    """Without its names, the ClassLabel column no longer says in which order the student's labels stand."""
    fewer = keep_labels(text_dataset, 0.3, "label")
    assert fewer.features["label"] == ClassLabel(names=["bad", "fair", "good"])
    assert Counter(fewer["label"])[-100] == 30 - len(kept(fewer, "label")) > 15


def test_what_cannot_be_kept_is_refused(skewed):
    """A percentage given for a share would keep every label."""
    for fraction in (0, 3, -0.1):
        with pytest.raises(ValueError, match=r"label_fraction must be in \(0, 1\]"):
            keep_labels(skewed, fraction)
    with pytest.raises(ValueError, match="labels holds no classes"):
        keep_labels(Dataset.from_dict({"labels": [0.5, 1.5]}), 0.5)


def test_labeled_rows_fill_an_epoch_of_the_same_length(skewed):
    """A teacher of 3 % of the labels would otherwise take 3 % of the steps, or fill its batches with nothing."""
    fewer = keep_labels(skewed, 0.03)
    assert kept(labeled_rows(fewer)) == list(range(6))
    filled = labeled_rows(fewer, length=201)
    assert len(filled) == 201 and set(Counter(filled["text"]).values()) == {33, 34}
    with pytest.raises(ValueError, match="no row has a label in labels"):
        labeled_rows(unlabel(make_rows(4), range(4)))


def test_a_transfer_set_is_mixed_in(text_dataset):
    """Labels that an unlabeled file happens to have must not be learned from."""
    mixed = mix(text_dataset.select(range(10)), text_dataset.select(range(10, 30)), "label")
    assert mixed["label"][:] == text_dataset["label"][:10] + [-100] * 20
    assert mixed["sentence"][:] == text_dataset["sentence"][:]
    bare = text_dataset.select(range(10, 30)).remove_columns("label")
    assert mix(text_dataset.select(range(10)), bare, "label")["label"][:] == mixed["label"][:]
    with pytest.raises(ValueError, match="only one has sentence"):
        mix(text_dataset, text_dataset.remove_columns("sentence"), "label")
    none = text_dataset.select([])
    assert mix(none, bare, "label")["label"][:] == [-100] * 20


def test_rows_of_several_labels_mix_with_some_of_none():
    """One -100 is no list of labels."""
    labeled = Dataset.from_dict({"text": ["a", "b"], "labels": [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]})
    mixed = mix(labeled, Dataset.from_dict({"text": ["c"]}))
    assert mixed["labels"][:] == [[1, 0, 1], [0, 0, 1], [-100, -100, -100]] and mixed.features == labeled.features


# ---- How they mix ----

LABELED = [row % 10 == 3 for row in range(200)]


def order_of(share, epoch=0, seed=0):
    return list(LabeledShareSampler(LABELED, share, seed, lambda: epoch))


@pytest.mark.parametrize("share", [0.1, 0.25, 1 / 3, 0.5, 0.9])
def test_every_stretch_has_its_share(share):
    """By chance alone, a batch of 8 of a tenth labels often has none."""
    for epoch in (0, 1, 7):
        has = [LABELED[row] for row in order_of(share, epoch)]
        assert len(has) == 200
        for size in (1, 3, 8, 50):
            for start in range(0, 200 - size):
                assert abs(sum(has[start : start + size]) - share * size) <= 1


def test_no_row_of_a_kind_twice_before_all_once():
    """Drawn with replacement, a third of the few labels would not be seen in an epoch of them."""
    rows = [row for epoch in range(6) for row in order_of(0.5, epoch)]
    labeled = [row for row in rows if LABELED[row]]
    unlabeled = [row for row in rows if not LABELED[row]]
    for kind, size in ((labeled, 20), (unlabeled, 180)):
        for start in range(0, len(kind) - size + 1, size):
            assert len(set(kind[start : start + size])) == size
    assert labeled[:20] != labeled[20:40]


def test_the_order_is_that_of_seed_and_epoch():
    """A resumed run must see the rows that it would have seen; another seed others."""
    assert order_of(0.5, 2) == order_of(0.5, 2) != order_of(0.5, 3)
    assert order_of(0.5) != order_of(0.5, seed=1)


def test_what_cannot_be_mixed_is_refused(tmp_path):
    """A run would end in a division by zero, or go on without the share that was asked for."""
    with pytest.raises(ValueError, match="none without is there"):
        LabeledShareSampler([True] * 4, 0.5, 0, int)
    with pytest.raises(ValueError, match="none with is there"):
        LabeledShareSampler([False] * 4, 0.5, 0, int)
    with pytest.raises(ValueError, match="labeled_share must be a number in .0, 1.; got 1.5"):
        make_trainer(tmp_path, make_model(), make_rows(), labeled_share=1.5)
    stream = make_rows(teacher_logits=True).to_iterable_dataset()
    with pytest.raises(ValueError, match="labeled_share mixes the rows of a Dataset, and this is a stream"):
        make_trainer(tmp_path, make_model(), stream, labeled_share=0.5, max_steps=2)


# ---- In the trainer ----


class WatchLabels(TrainerCallback):
    """How many labeled rows each forward pass of the student saw."""

    def __init__(self, trainer):
        self.seen, self.rows = [], []
        compute = trainer.compute_loss

        def watch(model, inputs, *args, **kwargs):
            self.seen.append(int((inputs["labels"].view(len(inputs["labels"]), -1)[:, 0] != -100).sum()))
            self.rows.append(inputs["input_ids"].tolist())
            return compute(model, inputs, *args, **kwargs)

        trainer.compute_loss = watch


def few_labels(out, **layout):
    rows = unlabel(make_rows(40, teacher_logits=True), set(range(40)) - {1, 7, 20, 33})
    settings = {"labeled_share": 0.25, "num_train_epochs": 2, "alpha": 0.5, **layout}
    return make_trainer(out, make_model(1), rows, **settings)


def test_each_batch_of_the_trainer_has_its_share(tmp_path):
    """The sampler's order must reach the batches as it is."""
    trainer = few_labels(tmp_path, per_device_train_batch_size=8)
    watch = WatchLabels(trainer)
    trainer.train()
    assert watch.seen == [2] * 10
    assert watch.rows[:5] != watch.rows[5:]  # another order in the second epoch


def test_one_order_whatever_the_batches_and_a_resumed_run(tmp_path):
    """Cut otherwise, or resumed within an epoch, the same rows must make the same steps."""
    whole = few_labels(tmp_path / "whole", save_strategy="steps", save_steps=7)
    whole.train()
    cut = few_labels(tmp_path / "cut", per_device_train_batch_size=2, gradient_accumulation_steps=4)
    cut.train()
    assert distance(weights(whole.model), weights(cut.model)) < 1e-6
    assert distance(weights(whole.model), weights(make_model(1))) > 0.01
    resumed = few_labels(tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-7"))
    assert distance(weights(whole.model), weights(resumed.model)) < 1e-7


def test_many_labels_at_once_have_a_label_when_any_has(tmp_path):
    """A list is never equal to -100."""
    rows = unlabel(make_rows(16, MULTI, teacher_logits=True), set(range(16)) - {1, 7})
    model = make_model(1, problem_type=MULTI)
    trainer = make_trainer(tmp_path, model, rows, labeled_share=0.25, per_device_train_batch_size=4)
    watch = WatchLabels(trainer)
    trainer.train()
    assert watch.seen == [1] * 8
    assert torch.isfinite(next(model.parameters())).all()


# ---- What a label weighs ----


@pytest.mark.parametrize("labeled", [0, 3, 12])
def test_the_default_weighs_a_label_as_one_row_among_all(tmp_path, labeled):
    """Hinton's sum over cases: at half and half, 3 labels of 12 would weigh as much as 12 rows of soft targets."""
    rows = unlabel(make_rows(12, teacher_logits=True), set(range(labeled, 12)))
    student, logits = make_model(1), torch.tensor(rows["teacher_logits"])
    predictions = logits_of(student, rows)
    trainer = make_trainer(tmp_path, student, rows, per_device_train_batch_size=12, num_train_epochs=1)
    assert trainer.args.alpha == pytest.approx(1 / (1 + labeled / 12))
    trainer.train()
    soft = 12 * naive_soft_target_loss(predictions, logits, trainer.args.temperature)
    hard = labeled * naive_label_loss(predictions, rows["labels"]) if labeled else 0.0
    assert trainer.state.log_history[0]["loss"] == pytest.approx((soft + hard) / (12 + labeled), rel=1e-4)


def test_a_given_alpha_is_kept_whatever_the_share(tmp_path):
    """Also one that is the usual half, or set by a search; a copy of arguments that were not given any has none."""
    rows = unlabel(make_rows(12, teacher_logits=True), set(range(3, 12)))
    args = make_args(tmp_path, alpha=0.5)
    assert settle_alpha(args, rows) is None and args.alpha == 0.5
    args = make_args(tmp_path)
    assert args.alpha == 0.5  # readable, and of the type that a search casts by
    other = args.with_output_dir("other")
    assert "25 % of the training rows have a label, so alpha, which is not given, is 0.8" in settle_alpha(args, rows)
    assert args.alpha == 0.8 and other.alpha == 0.5
    assert settle_alpha(args, make_rows(12)) is None and args.alpha == 0.5  # another trainer, other rows
    other.alpha = 0.5
    assert settle_alpha(other, rows) is None and other.alpha == 0.5
    copied = make_args(tmp_path).with_output_dir("copied", alpha=0.5)
    assert settle_alpha(copied, rows) is None and copied.alpha == 0.5
    for changes in ({"label_weight": 1.0}, {"terms": ["labels", "soft_targets"]}, {"stages": ["soft_targets steps=1"]}):
        assert settle_alpha(make_args(tmp_path, **changes), rows) is None
    assert "of the rows of a batch" in settle_alpha(mixed := make_args(tmp_path, labeled_share=0.5), rows)
    assert mixed.alpha == pytest.approx(2 / 3)


def test_of_a_stream_the_share_is_not_known(tmp_path):
    args, stream = make_args(tmp_path, max_steps=2), make_rows(12, teacher_logits=True).to_iterable_dataset()
    assert "is not known before they are read, so alpha is 0.5" in settle_alpha(args, stream)


def test_the_share_of_labels():
    """Rows are counted by what they hold, and a hole among numbers is NaN."""
    assert share_of_labels(unlabel(make_rows(8), {1, 2})) == 0.75
    assert share_of_labels(unlabel(make_rows(8, MULTI), {1, 2})) == 0.75
    assert share_of_labels(Dataset.from_dict({"label": [0.5, float("nan"), None, -100.0]})) == 0.25
    assert share_of_labels(make_rows(8).remove_columns("labels")) is None  # a collator may make them
    assert share_of_labels(make_rows(8).with_transform(lambda rows: rows)) is None
    assert share_of_labels(make_rows(8).select([1, 2]).with_format("torch")) == 1.0
