"""Tensors in a file: read as they were written, or refused."""

import random

import pytest
import torch
from safetensors.torch import save_file

from hfdistill.models.checksums import load_checked, load_into, save_checked

TENSORS = {
    "weight": torch.arange(6.0).view(2, 3).T,
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "filled": torch.tensor([True, False]),
    "scale": torch.tensor(0.5),
    "nothing": torch.zeros(0, 3),
}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_was_written_is_read(tmp_path):
    save_checked(TENSORS, tmp_path / "file")
    assert same(load_checked(tmp_path / "file"), TENSORS)
    empty = {name: torch.zeros_like(tensor) for name, tensor in TENSORS.items()}
    load_into(empty, tmp_path / "file", "the test")
    assert same(empty, TENSORS)


def test_no_flipped_bit_and_no_cut_changes_what_is_read(tmp_path):
    """A projection that the disk has changed pulls the student elsewhere, and nobody notices."""
    path = tmp_path / "checkpoint-5" / "file"
    path.parent.mkdir()
    save_checked(TENSORS, path)
    whole = path.read_bytes()
    bits = random.Random(0).sample(range(8 * len(whole)), 400)
    damaged = [bytes(b ^ (i == bit // 8) << bit % 8 for i, b in enumerate(whole)) for bit in bits]
    refused = 0
    for content in (*damaged, *(whole[:size] for size in range(0, len(whole), 50))):
        path.write_bytes(content)
        try:
            assert same(load_checked(path), TENSORS)
        except ValueError as error:
            assert f"{path} is damaged" in str(error) and f"delete {path.parent}" in str(error)
            refused += 1
    assert refused > 200


def test_a_file_without_a_checksum_is_read(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "file")
    assert same(load_checked(tmp_path / "file"), {"weight": torch.ones(2)})


@pytest.mark.parametrize("state", [{"other": torch.ones(2)}, {"weight": torch.ones(3)}, {}])
def test_another_state_is_refused(tmp_path, state):
    save_checked({"weight": torch.ones(2)}, tmp_path / "file")
    with pytest.raises(ValueError, match="file does not fit the gate: they differ in .*weight"):
        load_into(state, tmp_path / "file", "the gate")
