"""Two processes write down, keep and learn of a Whisper what one does."""

import pytest
from processes import results_of_two_ranks
from tiny import distance, weights
from tiny_media import make_writer
from whisper_runs import train

pytestmark = pytest.mark.slow


def test_two_processes_train_the_student_of_one(tmp_path):
    caches = {"HF_HOME": str(tmp_path / "hf_home"), "HF_DATASETS_CACHE": str(tmp_path / "datasets")}
    first, second = results_of_two_ranks("train_whisper_in_ranks.py", tmp_path, **caches)
    alone = train(tmp_path / "alone", 8, tmp_path / "own_store")
    assert distance(first["weights"], second["weights"]) == 0, "the ranks went apart"
    assert distance(first["weights"], alone["weights"]) < 5e-6
    assert distance(weights(make_writer(1)), alone["weights"]) > 1e-3
    for result in (first, second):
        assert result["labels"] == alone["labels"]
        assert 0 < result["ran"] < alone["ran"] == first["ran"] + second["ran"], "each shares the work"
        for one, other in zip(result["logs"], alone["logs"], strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
