"""Two processes must train the translator that one trains, and report what one reports."""

import pytest
from processes import results_of_two_ranks
from tiny import IN_ORDER, distance, make_tokenizer, weights
from tiny_seq2seq import ON_LAYERS, make_pairs, make_seq2seq, make_seq2seq_trainer, unlike_pair
from transformers.utils import is_liger_kernel_available

from hfdistill import token_soft_targets

pytestmark = pytest.mark.slow

LOGGED = ("loss", "grad_norm", "label_loss", "soft_target_loss")
EVALUATED = ("eval_loss", "eval_label_loss", "eval_soft_target_loss", "eval_agreement")


def assert_logged_alike(found, expected, names=LOGGED):
    for one, other in zip(found, expected, strict=True):
        assert [one[name] for name in names] == pytest.approx([other[name] for name in names], rel=1e-4, abs=1e-6)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    # A cache of its own: the ranks must make the stored predictions together.
    caches = {"HF_HOME": str(out / "hf_home"), "HF_DATASETS_CACHE": str(out / "datasets")}
    return results_of_two_ranks("train_translator_in_ranks.py", out, **caches)


@pytest.mark.parametrize("layout", ["halves", "quarters"])
@pytest.mark.parametrize("count", [16, 11])
def test_two_ranks_train_the_translator_of_one(ranks, tmp_path, count, layout):
    """Sentences are of unequal length, so each rank has another number of tokens: a mean of means would differ.

    11 rows leave a last batch that does not fill two ranks, where rows that were seen already stand in.
    """
    first, second = (result[count, layout] for result in ranks)
    assert distance(first["weights"], second["weights"]) == 0, "the ranks went apart"
    rows = make_pairs(count)
    given = {"eval_dataset": rows, "compute_metrics": lambda prediction: {}}
    student, teacher = make_seq2seq(seed=1), make_seq2seq(seed=2)
    before = weights(student)
    trainer = make_seq2seq_trainer(
        tmp_path, student, rows, teacher=teacher, given=given, predict_with_generate=True, **IN_ORDER
    )
    trainer.train()
    assert distance(before, weights(student)) > 0.003
    expected = [log for log in trainer.state.log_history if "loss" in log]
    assert_logged_alike(first["logs"], expected)
    assert distance(first["weights"], weights(student)) < 5e-6
    metrics = trainer.evaluate()
    for result in (first, second):
        assert [result["metrics"][key] for key in EVALUATED] == pytest.approx(
            [metrics[key] for key in EVALUATED], rel=1e-4
        )
        assert len(result["written"]) == count, "rows that fill up the last batch must not be counted twice"


@pytest.mark.skipif(not is_liger_kernel_available(), reason="needs Liger Kernel")
def test_two_ranks_by_liger_train_the_translator_of_two_without(ranks):
    """Its mean is over the tokens that it is given, and a step's are on both ranks and in several micro-batches."""
    for by_liger, ours in ((rank["liger"], rank[11, "quarters"]) for rank in ranks):
        assert 0 < distance(by_liger["weights"], ours["weights"]) < 5e-6
        assert_logged_alike(by_liger["logs"], ours["logs"])


@pytest.mark.parametrize("layout", ["halves", "quarters"])
def test_two_ranks_learn_from_layers_as_one_does(ranks, tmp_path, layout):
    """Each side is a mean over its own tokens of both ranks, and the projections are one on both."""
    first, second = (result["layers", layout] for result in ranks)
    student, teacher = unlike_pair()
    trainer = make_seq2seq_trainer(tmp_path, student, make_pairs(11), teacher=teacher, **ON_LAYERS, **IN_ORDER)
    before = weights(trainer.stages)
    trainer.train()
    assert distance(before, weights(trainer.stages)) > 1e-4
    for name, expected in (("weights", weights(student)), ("objective", weights(trainer.stages))):
        assert distance(first[name], second[name]) == 0, "the ranks went apart"
        assert distance(first[name], expected) < 5e-6
    logged = (*LOGGED, "encoder_hidden_states_loss", "decoder_hidden_states_loss", "decoder_minilm_loss")
    assert_logged_alike(first["logs"], [log for log in trainer.state.log_history if "loss" in log], logged)


@pytest.mark.parametrize("method", ["top_k", "sampled"])
def test_two_ranks_train_on_stored_soft_targets_as_one_does(ranks, tmp_path, method):
    """Made by two processes and read by two: the same predictions, and each token counts once."""
    first, second = (result[method] for result in ranks)
    assert distance(first["weights"], second["weights"]) == 0, "the ranks went apart"
    rows = token_soft_targets(make_seq2seq(seed=2), make_pairs(11), make_tokenizer(), k=6, method=method)
    student = make_seq2seq(seed=1)
    trainer = make_seq2seq_trainer(tmp_path, student, rows, given={"eval_dataset": rows}, **IN_ORDER)
    trainer.train()
    assert distance(first["weights"], weights(student)) < 5e-6
    metrics = trainer.evaluate()
    names = ("eval_loss", "eval_soft_target_loss")
    assert [first["metrics"][name] for name in names] == pytest.approx([metrics[name] for name in names], rel=1e-4)
