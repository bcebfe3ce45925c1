"""Evaluation and prediction give what the stock trainer gives: metrics, their names, predictions, labels, inputs."""

import numpy
import pytest
import torch
from both_trainers import assert_reports_as_much, assert_same_run, both, figures, train_both, trainer_of
from datasets import Dataset
from tiny import accuracy, make_rows


def results_of(trainers, forward):
    return [forward(trainer) for trainer in trainers]


def counts(prediction):
    """Metrics of many kinds, of everything that an evaluation hands over."""
    predictions, labels = prediction.predictions, prediction.label_ids
    inputs = getattr(prediction, "inputs", None)
    losses = getattr(prediction, "losses", None)
    return {
        "right": (predictions.argmax(-1) == labels).mean(),
        "largest": numpy.float32(predictions.max()),
        "rows": len(labels),
        "shape": str(predictions.shape),
        "by_class": {"0": {"share": float((labels == 0).mean())}, "1": [1, 2]},
        "inputs": None if inputs is None else int(inputs.sum()),
        "losses": None if losses is None else [round(float(loss), 4) for loss in numpy.concatenate([losses])],
    }


@pytest.mark.parametrize("included", [[], ["inputs"], ["loss"], ["inputs", "loss"]], ids="+".join)
def test_metrics_get_what_is_included_and_may_return_anything(tmp_path, included):
    trainers = both(tmp_path, compute_metrics=counts, include_for_metrics=included)
    stock, ours = results_of(trainers, lambda trainer: figures(trainer.evaluate()))
    exact, nested = ("eval_right", "eval_rows", "eval_shape", "eval_inputs"), ("eval_by_class", "eval_losses")
    assert stock.keys() <= ours.keys()
    assert {name: ours[name] for name in exact} == {name: stock[name] for name in exact}
    assert [ours[name] for name in nested] == [stock[name] for name in nested]
    assert ours["eval_loss"] == pytest.approx(stock["eval_loss"], rel=1e-5)


def test_a_metric_of_the_users_goes_before_one_of_ours(tmp_path):
    def metrics(prediction):
        return {"loss": 7.0, "label_loss": 8.0, "agreement": 9.0}

    for trainer in both(tmp_path, compute_metrics=metrics):
        evaluated = trainer.evaluate()
        assert [evaluated[f"eval_{name}"] for name in ("loss", "label_loss", "agreement")] == [7.0, 8.0, 9.0]


def test_a_prefix_and_a_dataset_may_be_given(tmp_path):
    rows = make_rows(8, seed=5)
    stock, ours = results_of(
        both(tmp_path, compute_metrics=accuracy), lambda trainer: trainer.evaluate(rows, metric_key_prefix="held_out")
    )
    assert_reports_as_much(stock, ours)
    assert {"held_out_loss", "held_out_accuracy"} <= stock.keys()


@pytest.mark.parametrize("given", [True, False])
def test_several_sets_have_names(tmp_path, given):
    sets = {"one": make_rows(8, seed=5), "two": make_rows(4, seed=6)}
    trainers = both(tmp_path, compute_metrics=accuracy, eval_dataset=None if given else (lambda: sets))
    stock, ours = results_of(trainers, lambda trainer: trainer.evaluate(sets if given else None))
    assert_reports_as_much(stock, ours)
    assert {"eval_one_loss", "eval_two_accuracy"} <= stock.keys()


@pytest.mark.parametrize(
    "strategy, metric, greater",
    [("steps", "accuracy", True), ("steps", "loss", None), ("best", "eval_accuracy", False)],
)
def test_the_best_model_is_the_same(tmp_path, strategy, metric, greater):
    best = {"load_best_model_at_end": True, "metric_for_best_model": metric, "greater_is_better": greater}
    steps = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": strategy, "save_steps": 2}
    stock, ours = train_both(tmp_path, compute_metrics=accuracy, **best, **steps, learning_rate=0.5)
    assert_same_run(stock, ours)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"eval_accumulation_steps": 2},
        {"eval_do_concat_batches": False},
        {"per_device_eval_batch_size": 5},
        {"eval_use_gather_object": True},
    ],
    ids=str,
)
def test_predictions_are_the_same(tmp_path, arguments):
    stock, ours = results_of(both(tmp_path, **arguments), lambda trainer: trainer.predict(make_rows(10, seed=5)))
    assert type(stock.predictions) is type(ours.predictions)
    for one, other in zip(stock.predictions, ours.predictions, strict=True):
        numpy.testing.assert_allclose(one, other, rtol=1e-5)
    for one, other in zip(stock.label_ids, ours.label_ids, strict=True):
        numpy.testing.assert_array_equal(one, other)
    assert figures(stock.metrics).keys() <= ours.metrics.keys()


def test_predictions_are_in_the_order_of_the_rows(tmp_path):
    """The stock trainer sorts by length what it predicts, where training sorts; beside the rows that is noise."""
    rows = make_rows(20, seed=5)
    assert len({len(ids) for ids in rows["input_ids"]}) > 3  # a canary: of one length no order shows
    expected = trainer_of(True, tmp_path).predict(rows).predictions
    grouped = trainer_of(True, tmp_path, train_sampling_strategy="group_by_length")
    numpy.testing.assert_allclose(grouped.predict(rows).predictions, expected, rtol=1e-4, atol=1e-6)
    assert grouped.args.train_sampling_strategy == "group_by_length"


def test_rows_without_labels_are_predicted(tmp_path):
    rows = make_rows(8, seed=5).remove_columns("labels")
    trainers = both(tmp_path, compute_metrics=accuracy)
    stock, ours = results_of(trainers, lambda trainer: trainer.predict(rows))
    numpy.testing.assert_allclose(stock.predictions, ours.predictions, rtol=1e-5)
    assert stock.label_ids is None and ours.label_ids is None
    assert figures(stock.metrics).keys() == figures(ours.metrics).keys()


def test_labels_may_be_called_label(tmp_path):
    rows = make_rows(8, seed=5).rename_column("labels", "label")
    trainers = both(tmp_path, train_dataset=lambda: rows, compute_metrics=accuracy)
    assert_reports_as_much(*results_of(trainers, lambda trainer: trainer.evaluate(rows)))


def test_logits_may_be_changed_before_they_are_kept(tmp_path):
    def decide(logits, labels):
        assert labels.shape == logits.shape[:1]
        return logits.argmax(-1)

    def metrics(prediction):
        return {"right": (prediction.predictions == prediction.label_ids).mean()}

    trainers = both(tmp_path, preprocess_logits_for_metrics=decide, compute_metrics=metrics)
    assert_reports_as_much(*results_of(trainers, lambda trainer: trainer.evaluate()))


class Running:
    """Metrics batch by batch."""

    def __init__(self):
        self.right = self.rows = 0
        self.seen = []

    def __call__(self, prediction, compute_result=False):
        assert isinstance(prediction.predictions, torch.Tensor)
        self.seen.append((prediction.losses is not None, sorted(prediction.inputs or ())))
        self.right += (prediction.predictions.argmax(-1) == prediction.label_ids).sum().item()
        self.rows += len(prediction.label_ids)
        return {"right": self.right / self.rows, "rows": self.rows} if compute_result else {}


@pytest.mark.parametrize("included", [[], ["inputs", "loss"]], ids="+".join)
def test_metrics_may_be_computed_batch_by_batch(tmp_path, included):
    trainers = both(tmp_path, batch_eval_metrics=True, include_for_metrics=included)
    for trainer in trainers:
        trainer.compute_metrics = Running()
    stock, ours = results_of(trainers, lambda trainer: trainer.evaluate())
    assert_reports_as_much(stock, ours)
    assert stock["eval_rows"] == 12
    assert trainers[0].compute_metrics.seen == trainers[1].compute_metrics.seen


def test_prediction_loss_only(tmp_path):
    trainers = both(tmp_path, prediction_loss_only=True, compute_metrics=accuracy)
    stock, ours = results_of(trainers, lambda trainer: trainer.evaluate())
    assert_reports_as_much(stock, ours)
    assert "eval_accuracy" not in ours
    stock, ours = results_of(trainers, lambda trainer: trainer.predict(make_rows(8)))
    assert stock.predictions is None and ours.predictions is None
    assert stock.label_ids is None and ours.label_ids is None


def test_evaluation_in_half_precision(tmp_path):
    trainers = both(tmp_path, bf16_full_eval=True)
    stock, ours = results_of(trainers, lambda trainer: trainer.evaluate())
    assert ours["eval_loss"] == pytest.approx(stock["eval_loss"], rel=1e-2)  # theirs is computed in bfloat16 as well
    assert [trainer.model.dtype for trainer in trainers] == [torch.bfloat16, torch.bfloat16]


class Torch(torch.utils.data.Dataset):
    """Rows that are no `datasets.Dataset`."""

    def __init__(self, rows):
        self.rows = rows.to_list()

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


@pytest.mark.parametrize("kind", [Torch, Dataset.to_list, Dataset.to_iterable_dataset], ids=["torch", "list", "stream"])
def test_rows_of_other_kinds(tmp_path, kind):
    trainers = train_both(
        tmp_path,
        train_dataset=lambda: kind(make_rows()),
        eval_dataset=lambda: kind(make_rows(12, seed=1)),
        eval_strategy="epoch",
        max_steps=8,
    )
    assert_same_run(*trainers)
