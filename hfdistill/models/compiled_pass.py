"""A model compiled for a long pass over a dataset on a processor."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from hfdistill.models.wrappers import device_of, is_quantized

logger = logging.get_logger(__name__)

#: Additions and multiplications a second that a core is reckoned to do, and the seconds of a pass from which compiling
#: pays, which itself takes about twenty.
OPERATIONS_A_SECOND = 5e10
LONG_PASS = 120


@contextmanager
def compiled_if_long(model: PreTrainedModel, tokens: int) -> Iterator[None]:
    """Within it a model is compiled where that pays: for a pass of minutes in float32 on a processor.

    Its matrices are laid out anew once, for oneDNN, and what follows a product is computed along with it. Where there
    is no C++ compiler, or not the whole model can be compiled, it runs as it is.

    Args:
        model: In evaluation mode, its weights as they stay; an encoder of transformers' own. Predictions differ by
            rounding.
        tokens: How many it is going to read.
    """
    if not _pays(model, tokens):
        yield
        return
    logger.info("The model is compiled, which takes about 20 seconds.")
    compiled = torch.compile(model._call_impl, dynamic=True, fullgraph=True, options={"freezing": True})
    model._compiled_call_impl = functools.partial(_compiled_or_not, model, compiled)
    try:
        yield
    finally:
        model._compiled_call_impl = None


def _compiled_or_not(model: Any, compiled: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return compiled(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 (whatever a compiler ends in; what the model raises comes again)
        logger.info("It cannot be compiled: %s", (str(error).strip() or type(error).__name__).splitlines()[0])
        model._compiled_call_impl = None
        return model(*args, **kwargs)


def _pays(model: PreTrainedModel, tokens: int) -> bool:
    if shutil.which(os.environ.get("CXX", "g++")) is None:  # which torch would find out of each part, for a minute
        return False
    reads_texts = model.main_input_name == "input_ids" and not model.config.is_encoder_decoder
    if not reads_texts or not type(model).__module__.startswith("transformers."):
        return False
    if device_of(model).type != "cpu" or model.dtype != torch.float32 or is_quantized(model):
        return False
    weights = sum(weight.numel() for weight in model.parameters() if weight.dim() == 2)
    tables = sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Embedding))
    seconds = 2 * (weights - tables) * tokens / (OPERATIONS_A_SECOND * torch.get_num_threads())
    return seconds > LONG_PASS
