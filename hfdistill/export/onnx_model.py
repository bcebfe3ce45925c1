"""An exported model, run by ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from typing_extensions import Self

#: How the outputs end that are read of a graph.
_READ = ("logits", "last_hidden_state")


class OnnxModel:
    """An exported model on ONNX Runtime's CPU provider, called as a transformers model is.

    Its `parity` is how close its predictions are to those of the model it was made of, where they were compared.

    Args:
        path: The ONNX file.
        config: The config of the model it was made of.
    """

    device = torch.device("cpu")
    engine = "ONNX Runtime"
    parity: Any = None

    def __init__(self, path: str | os.PathLike[str], config: Any) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # as many as PyTorch, to be compared with it
        self.path = Path(path)
        self.config = config
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [node.name for node in self._session.get_inputs()]
        #: What it reads, as a model says it.
        self.reads = tuple(self._inputs)
        self.main_input_name = self._inputs[0]

    @property
    def megabytes(self) -> float:
        """The size of its file, in 10⁶ bytes."""
        return self.path.stat().st_size / 1e6

    def eval(self) -> Self:
        """Nothing to do: a graph is always in eval mode."""
        return self

    def __call__(self, **inputs: torch.Tensor) -> Any:
        """The logits of a padded batch, or an encoder's hidden states, under the names that the model gives them."""
        names = [node.name for node in self._session.get_outputs() if node.name.endswith(_READ)]
        found = self._session.run(names, {name: inputs[name].numpy() for name in self._inputs})
        return SimpleNamespace(**dict(zip(names, map(torch.from_numpy, found), strict=True)))
