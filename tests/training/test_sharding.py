"""FSDP2 must train the student that one process trains, with its teacher sharded as well, and leave both whole."""

import sys

import pytest
from processes import SCRIPTS, results_of_two_ranks
from tiny import distance, live, make_model, make_rows, make_trainer, weights
from tiny_seq2seq import make_seq2seq
from transformers import AutoModelForSequenceClassification

from hfdistill.models.sharding import has_more_embeddings, layer_classes
from hfdistill.training import sharding

sys.path.insert(0, str(SCRIPTS))
from train_sharded import CASES, new_trainer


def test_no_layer_holds_the_embeddings():
    """A BERT's embeddings were sharded with what holds them and once more by themselves, which torch refuses."""
    assert layer_classes(make_model()) == ["BertLayer"]
    assert has_more_embeddings(make_seq2seq()) and not has_more_embeddings(make_model())


def test_fsdp_that_does_not_shard_is_warned_of(tmp_path, monkeypatch):
    """Accelerate passes it over on processors: a model that was to be shared out is held whole by each process."""
    warnings = []
    monkeypatch.setattr(sharding.logger, "warning", lambda text, *words: warnings.append(text % words))
    make_trainer(tmp_path, make_model(1), make_rows(), teacher=make_model(2))
    assert warnings == []
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")  # of `accelerate launch --use_fsdp`, or its configuration
    make_trainer(tmp_path, make_model(1), make_rows(), teacher=make_model(2))
    assert (
        len(warnings) == 1
        and "does not shard on cpu with 1 process(es): each of them trains the whole model" in warnings[0]
    )


def test_fsdp_in_one_process_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fsdp shards a model over several processes, and here is one"):
        make_trainer(tmp_path, make_model(1), make_rows(), fsdp=True)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    return results_of_two_ranks("train_sharded.py", out), out


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_sharded_ranks_train_the_student_of_one_process(ranks, tmp_path, name):
    """A teacher whose shards were taken for the whole, or a loss that was averaged once more, would show here."""
    (first, _), _ = ranks
    reference = new_trainer(tmp_path, name)
    reference.train()
    assert first[name]["sharded"]
    for found, expected in zip(first[name]["logs"], reference.state.log_history, strict=False):
        names = [key for key in expected if key == "grad_norm" or key.endswith("loss")]
        assert [found[key] for key in names] == pytest.approx([expected[key] for key in names], rel=1e-4)
    metrics = reference.evaluate()
    names = [key for key in metrics if key.endswith(("loss", "agreement"))]
    assert [first[name]["metrics"][key] for key in names] == pytest.approx([metrics[key] for key in names], rel=1e-4)
    assert distance(first[name]["weights"], weights(reference.model)) < 1e-5


@pytest.mark.slow
def test_a_run_leaves_each_process_whole_models(ranks):
    """The report is one process's work: it would wait for ever for the shards of the others."""
    (first, second), out = ranks
    loaded = AutoModelForSequenceClassification.from_pretrained(out / "saved")
    assert distance(first["saved"]["weights"], weights(loaded)) == 0
    assert distance(first["saved"]["weights"], second["saved"]["weights"]) == 0
    assert distance(first["saved"]["weights"], first["live"]["weights"]) < 1e-6
    assert distance(first["saved"]["teacher"], weights(live()[2])) == 0


@pytest.mark.slow
def test_what_would_be_lost_is_refused(ranks):
    """Empty weights in all processes but one, or a student in pieces, would be noticed after the training at best."""
    (first, second), _ = ranks
    assert first["refused"] == second["refused"] and all(words in said for words, said in first["refused"].items())
