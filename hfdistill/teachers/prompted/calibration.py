"""Taking a language model's liking for some label words out of its predictions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Texts that say nothing, as in the reference.
CONTENT_FREE = ("N/A", "", "[MASK]")


def contextual_bias(logits: Tensor) -> Tensor:
    """The bias by which texts that say nothing get equal probabilities: `−log p̂`, their mean probabilities.

    With it the probabilities are `W p` normalized, with `W = diag(p̂)⁻¹`.

    Args:
        logits: Those of the content-free texts, shape `(texts, labels)`.

    Returns:
        Shape `(labels,)`.

    References: Zhao et al. 2021, section 5, https://huggingface.co/papers/2102.09690.
    """
    log_p = logits.double().log_softmax(-1)
    return -(log_p.logsumexp(0) - math.log(len(log_p)))


def fitted_calibration(logits: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """The scale and bias that make few labels likeliest, held near 1 and 0.

    `argmin_{s, b} Σ −log softmax(s · z + b)_y + ½ ‖b‖² + ½ (log s)²`: the maximum a posteriori estimate under
    standard normal priors of `b` and `log s`, so that one label moves little and a hundred what they say.

    Args:
        logits: Those of labeled texts, shape `(texts, labels)`.
        labels: Their labels, shape `(texts,)`.

    Returns:
        Scale, and bias of shape `(labels,)`.
    """
    logits = logits.double()
    free = torch.zeros(1 + logits.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        fit = torch.nn.functional.cross_entropy(free[0].exp() * logits + free[1:], labels, reduction="sum")
        loss = fit + free.square().sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return float(free[0].detach().exp()), free[1:].detach()
