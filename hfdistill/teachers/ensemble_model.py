"""Several models as one, to be measured and used like any other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hfdistill.models.inputs import token_inputs
from hfdistill.models.labels import LabelSpace
from hfdistill.teachers.combination import Combination


class EnsembleModel(PreTrainedModel):
    """Models that read the same token ids, as one model whose logits are theirs combined, for `compare` and the like.

    Args:
        models: Two or more classifiers of one vocabulary; the labels are put into the first one's order by name.
        combination: How their predictions become one.

    Raises:
        ValueError: when they solve different tasks.
    """

    # Each member has its own attention implementation.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(self, models: Sequence[PreTrainedModel], combination: Combination | None = None) -> None:
        first: Any = models[0].config
        super().__init__(copy.deepcopy(first))
        self.models = nn.ModuleList(models)
        self.combination = combination or Combination()
        self._inputs = [token_inputs(model) for model in models]
        #: What any of them reads of a row.
        self.reads = tuple(dict.fromkeys(name for names in self._inputs for name in names))
        self._orders = [_order(model.config, first) for model in models]

    def forward(self, **inputs: Tensor | None) -> SequenceClassifierOutput:
        """The combined logits, at temperature 1."""
        predictions = [
            model(**{name: inputs[name] for name in names if inputs.get(name) is not None}).logits[..., order]
            for model, names, order in zip(self.models, self._inputs, self._orders, strict=True)
        ]
        signal = self.combination(torch.stack(predictions), self.config.problem_type)
        assert signal.logits is not None
        return SequenceClassifierOutput(logits=signal.logits)


def _order(config: Any, first: Any) -> slice | list[int]:
    order = LabelSpace.of_config(first).order_in(LabelSpace.of_config(config))
    return slice(None) if order is None else order
