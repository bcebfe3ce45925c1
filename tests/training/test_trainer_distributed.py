"""Two processes must train the student that one trains, and report the figures that one reports."""

import numpy as np
import pytest
from processes import results_of_two_ranks
from tiny import CASES, distance, live, logits_of, make_model, make_trainer, run_case, stored, unlabel, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """The results of both ranks, and their folder."""
    out = tmp_path_factory.mktemp("ranks")
    return results_of_two_ranks("train_in_ranks.py", out), out


@pytest.mark.parametrize("layout", ["halves", "quarters"])
@pytest.mark.parametrize("rows", [16, 11])
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_train_the_student_of_one(ranks, tmp_path, name, rows, layout):
    """A mean over each rank weighs the rows of a rank with few labels more; a count of all ranks alone halves the step.

    11 rows leave a last batch that does not fill two ranks, where rows that were seen already stand in.
    """
    results, _ = ranks
    first, second = (result[name, rows, layout] for result in results)
    assert distance(first["weights"], second["weights"]) == 0, "the ranks went apart"
    reference, before = run_case(tmp_path, name, rows)
    assert distance(before, weights(reference.model)) > 0.003
    names = ["loss", "grad_norm", "label_loss", *(["soft_target_loss"] if name != "plain_labels" else [])]
    expected = [log for log in reference.state.log_history if "loss" in log]
    for one, other in zip(first["logs"], expected, strict=True):
        assert [one[key] for key in names] == pytest.approx([other[key] for key in names], rel=1e-5, abs=1e-6)
    assert distance(first["weights"], weights(reference.model)) < 1e-6


@pytest.mark.parametrize("case", [stored, live])
def test_rows_that_fill_the_last_batch_are_not_counted_twice(ranks, tmp_path, case):
    """11 rows in batches of two ranks by 2: the last is filled with rows from the beginning."""
    results, _ = ranks
    student, rows, teacher, settings = case(11)
    rows = unlabel(rows, {0, 1, 2, 8})
    given = {"eval_dataset": rows}
    expected = make_trainer(tmp_path, student, rows, teacher=teacher, given=given, **settings).evaluate()
    for result in results:
        metrics = result[case.__name__]["metrics"]
        for name in ("eval_loss", "eval_label_loss", "eval_soft_target_loss", "eval_agreement"):
            assert metrics[name] == pytest.approx(expected[name], rel=1e-5)
        predictions = result[case.__name__]["predictions"]
        np.testing.assert_allclose(predictions, logits_of(student, rows).numpy(), atol=1e-5)


def test_ranks_save_one_plain_student(ranks):
    """The wrapper of the ranks must not show in the names of the saved weights."""
    results, out = ranks
    loaded = type(make_model()).from_pretrained(out / "saved" / "checkpoint-1")
    assert loaded.state_dict().keys() == make_model().state_dict().keys()
    assert distance(weights(loaded), weights(make_model(1))) > 0
