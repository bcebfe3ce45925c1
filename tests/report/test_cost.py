"""What a model costs, against figures counted by hand."""

import pytest
import torch

from hfdistill.models.inference import token_rows
from hfdistill.report.cost import MeasuredModel, _LiveTensors, megaflops, peak_megabytes, size_of


@pytest.fixture
def measured_model(tiny_bert, tokenizer, text_dataset):
    def build(**config):
        model = tiny_bert(**config)
        return MeasuredModel(model, tokenizer, token_rows(model, tokenizer, text_dataset, ("sentence",)))

    return build


def test_operations_are_those_of_the_matrix_products(measured_model):
    """Two for a multiplication and an addition; attention's own products grow with the square of the length."""
    one = measured_model(num_hidden_layers=2)
    lengths = sorted(len(row["input_ids"]) for row in one.rows)
    length, width, inner, classes = lengths[len(lengths) // 2], 16, 24, 3
    layer = 2 * length * (4 * width * width + 2 * width * inner) + 2 * 2 * length * length * width
    head = 2 * (width * width + width * classes)
    assert megaflops(one) == pytest.approx((2 * layer + head) / 1e6)


def test_peak_memory_counts_what_is_alive_at_once():
    """Tensors that were freed take no room; a view takes none of its own."""
    with torch.no_grad(), _LiveTensors() as live:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second * 2
        view = third.view(10, 100)
        del second, third
        fourth = view + 1
        del view, fourth
    assert live.peak == 2 * 4000


def test_a_larger_model_takes_more_memory_than_its_weights(measured_model):
    """Weights alone are what anybody can count: activations come on top, more of them in a wider model."""
    small, wide = measured_model(), measured_model(intermediate_size=512)
    for one in (small, wide):
        assert peak_megabytes(one) > size_of(one.model).megabytes
    activations = [peak_megabytes(one) - size_of(one.model).megabytes for one in (small, wide)]
    assert activations[1] > 2 * activations[0]
