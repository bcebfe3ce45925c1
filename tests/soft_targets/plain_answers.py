"""What soft targets are compared with: each text on its own; and how many rows a model was run on."""

import numpy as np
import torch

TEXT = {"text_columns": ["sentence"]}


def plain_logits(model, tokenizer, *texts, **settings):
    """The reference: each text on its own, through nothing but the tokenizer and the model."""
    with torch.no_grad():
        rows = [model(**tokenizer(*row, return_tensors="pt", **settings)).logits[0] for row in zip(*texts, strict=True)]
    return torch.stack(rows).float().numpy()


def assert_same(dataset, expected):
    np.testing.assert_allclose(np.array(list(dataset["teacher_logits"]), dtype=np.float32), expected, atol=1e-5)


def count_rows(model):
    """A list that grows by the size of each batch that the model is run on."""
    forwarded = []
    model.register_forward_pre_hook(
        lambda _, args, inputs: forwarded.append(len(inputs["input_ids"])), with_kwargs=True
    )
    return forwarded
