"""Soft targets on processed pictures and sounds: each row's are those of the row alone, whatever it is run with."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny_media import QUIET, listener_config, make_vit, quiet_listener
from transformers import Wav2Vec2ForSequenceClassification

from hfdistill import soft_targets


def sounds():
    rng = np.random.default_rng(3)
    return [rng.normal(size=length).astype("float32") for length in (90, 120, 60, 75)]


def hard_of_hearing():
    """As wav2vec2-base: it normalizes over all samples of a batch, and takes no mask."""
    torch.manual_seed(5)
    config = listener_config(**QUIET)
    config.feat_extract_norm, config.do_stable_layer_norm = "group", False
    return Wav2Vec2ForSequenceClassification(config)


def seer_alone():
    return make_vit()[0]


@pytest.mark.parametrize("make", [quiet_listener, hard_of_hearing])
def test_padding_does_not_change_what_is_stored(make, tmp_path):
    teacher, rows = make().eval(), sounds()
    stored = soft_targets(teacher, Dataset.from_dict({"input_values": rows}), store=tmp_path)
    with torch.no_grad():
        alone = torch.cat([teacher(torch.tensor(row)[None]).logits for row in rows])
    assert torch.allclose(torch.tensor(stored["teacher_logits"][:]), alone, atol=1e-5)


def test_a_mask_that_rows_bring_is_heeded_and_a_stream_is_run_as_it_comes(tmp_path):
    teacher, rows = quiet_listener(), sounds()
    padded = [np.append(row, np.full(30, 9.0, "float32")) for row in rows]
    masks = [[1] * len(row) + [0] * 30 for row in rows]
    masked = Dataset.from_dict({"input_values": padded, "attention_mask": masks})
    plain = soft_targets(teacher, Dataset.from_dict({"input_values": rows}), store=tmp_path / "store")
    for found in (
        soft_targets(teacher, masked, store=tmp_path / "other"),
        soft_targets(teacher, masked.to_iterable_dataset()),
    ):
        logits = [row["teacher_logits"] for row in found]
        assert np.allclose(logits, plain["teacher_logits"][:], atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "make", "said"),
    [
        ({"input_values": [[0.5] * 90, []]}, quiet_listener, "the column input_values has an empty row"),
        (
            {"pixel_values": np.zeros((2, 3, 8, 8)).tolist()},
            quiet_listener,
            "the teacher reads the columns input_values",
        ),
        (
            {"pixel_values": [np.zeros((3, 8, 8)), np.zeros((3, 9, 9))]},
            lambda: make_vit()[0],
            "arrays of several shapes",
        ),
    ],
)
def test_rows_that_the_teacher_cannot_read_are_refused(rows, make, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        soft_targets(make(), Dataset.from_dict(rows), store=tmp_path)
