"""What sees, hears and writes down speech as ONNX: the same logits, for any number of rows and any length."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny_media import make_speaker, make_vit, quiet_listener

from hfdistill import export_onnx

pytest.importorskip("onnxruntime")


def pictures():
    return {"pixel_values": list(np.random.default_rng(1).normal(size=(6, 3, 8, 8)).astype("float32"))}


def sounds():
    rng = np.random.default_rng(2)
    return {"input_values": [rng.normal(size=length).astype("float32") for length in (90, 120, 60, 75)]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "rows"), [(lambda: make_vit()[0], pictures), (quiet_listener, sounds), (make_speaker, sounds)]
)
def test_the_graph_gives_the_models_logits(make, rows, tmp_path):
    model, rows = make().eval(), rows()
    made = export_onnx(model, None, Dataset.from_dict(rows), tmp_path)
    assert made["onnx"].parity.relative_error < 1e-4 and made["int8"].parity.relative_error < 0.5
    [name] = rows
    values = [torch.tensor(row) for row in rows[name][:2]]
    inputs = {name: torch.nn.utils.rnn.pad_sequence(values, batch_first=True)}
    if name == "input_values":
        inputs["attention_mask"] = (torch.arange(120) < torch.tensor([[90], [120]])).long()
    with torch.no_grad():
        assert torch.allclose(made["onnx"](**inputs).logits, model(**inputs).logits, atol=1e-4)
