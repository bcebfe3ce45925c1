"""A teacher that is run on each text once, for measurements that train many students on the same texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from hfdistill import ModelTeacher, TeacherSignal
from hfdistill.teachers import NO_CONTEXT, TeacherContext

LAYERS = ("hidden_states", "queries", "keys", "values")


class RememberingTeacher(ModelTeacher):
    """Predictions from memory where it has read all texts of a batch before, padding apart with the very same numbers.

    Args:
        model: The teacher, padded on the right.
        layers: The numbers of the layers, from 0, that are remembered; the others are NaN, so that no term can learn
            from them unnoticed. A token takes `8 · layers · width` bytes in bfloat16.
        dtype: As in `ModelTeacher`.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], dtype: str | None = None) -> None:
        super().__init__(model, dtype=dtype)
        self.layers = list(layers)
        self._known: dict[bytes, tuple[Tensor, Tensor]] = {}

    def __call__(
        self, batch: Mapping[str, Any], outputs: frozenset[str] = frozenset(), context: TeacherContext = NO_CONTEXT
    ) -> TeacherSignal:
        if not outputs:
            return super().__call__(batch, outputs, context)
        if not outputs.issubset(LAYERS):
            raise ValueError(f"only {', '.join(LAYERS)} are remembered, and the objective asks for {sorted(outputs)}.")
        lengths = batch["attention_mask"].sum(1).tolist()
        texts = [ids[:length].cpu().numpy().tobytes() for ids, length in zip(batch["input_ids"], lengths, strict=True)]
        if any(text not in self._known for text in texts):
            self._remember(texts, lengths, super().__call__(batch, frozenset(LAYERS), context))
        logits, layers = zip(*(self._known[text] for text in texts), strict=True)
        device = batch["input_ids"].device
        return self._signal(torch.stack(logits).to(device), pad_sequence(list(layers), batch_first=True).to(device))

    def _remember(self, texts: Sequence[bytes], lengths: Sequence[int], signal: TeacherSignal) -> None:
        # Hidden states begin with the embeddings, one before the first layer.
        kept = [getattr(signal, name)[number + (name == "hidden_states")] for name in LAYERS for number in self.layers]
        together = torch.stack(kept, dim=2).to(next(self.model.parameters()).dtype)  # of mixed precision, exactly
        assert signal.logits is not None
        for text, length, logits, vectors in zip(texts, lengths, signal.logits, together, strict=True):
            self._known[text] = (logits.cpu(), vectors[:length].clone().cpu())

    def _signal(self, logits: Tensor, together: Tensor) -> TeacherSignal:
        config: Any = self.model.config
        unknown = torch.full_like(together[:, :, 0], torch.nan)
        outputs = {}
        for place, name in enumerate(LAYERS):
            before = name == "hidden_states"
            layers = [unknown] * (config.num_hidden_layers + before)
            for index, number in enumerate(self.layers):
                layers[number + before] = together[:, :, place * len(self.layers) + index]
            outputs[name] = tuple(layers)
        return TeacherSignal(logits=logits, **outputs)
