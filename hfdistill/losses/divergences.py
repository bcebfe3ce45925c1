"""How far a student's distribution is from its teacher's: pure functions on logits.

Every function takes `student_logits` and `teacher_logits` of one shape `(..., classes)` and a `temperature`, computes
in float32 at least, and returns one value per distribution, shape `(...)`: the caller masks and averages.
With `p = softmax(teacher_logits / T)` and `q = softmax(student_logits / T)`, all but `mse` carry the factor `T²` that
keeps their gradients on the scale of the hard-label loss when T changes (Hinton et al. 2015, section 2,
https://huggingface.co/papers/1503.02531).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Divergence = Callable[[Tensor, Tensor, float], Tensor]

#: What terms, training arguments and precomputed soft targets take where no temperature is given.
TEMPERATURE = 2.0


def at_least_float32(logits: Tensor) -> Tensor:
    """Half precision becomes float32, in which a softmax over large logits is safe; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


def log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    """`log softmax(logits / temperature)` over the last dimension, in float32 at least.

    Raises:
        ValueError: for a temperature that is not a finite number greater than 0.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a finite number greater than 0, got {temperature}.")
    return F.log_softmax(at_least_float32(logits) / temperature, dim=-1)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """`KL(p || q) = Σ p (log p − log q)` over the last dimension."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def forward_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """`T² · KL(p || q)`: the student must cover everything the teacher holds possible.

    References: Hinton et al. 2015, https://huggingface.co/papers/1503.02531.

    Relations: `cross_entropy` minus the teacher's entropy, with the same gradient.

    Example:
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]).log()
        >>> forward_kl(student, teacher).round(decimals=4)
        tensor([0.1308])
    """
    log_q, log_p = log_probabilities(student_logits, temperature), log_probabilities(teacher_logits, temperature)
    return temperature**2 * kl(log_p, log_q)


def reverse_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """`T² · KL(q || p)`: the student may keep to what the teacher holds likely.

    References: MiniLLM, Gu et al. 2023, https://huggingface.co/papers/2306.08543.

    Relations: `forward_kl` with student and teacher exchanged.

    Example:
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]).log()
        >>> reverse_kl(student, teacher).round(decimals=4)
        tensor([0.1438])
    """
    return forward_kl(teacher_logits, student_logits, temperature)


def jensen_shannon(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, beta: float = 0.5
) -> Tensor:
    """`T² · (β KL(p || m) + (1 − β) KL(q || m))` with `m = β p + (1 − β) q`, for 0 < β < 1.

    It vanishes at both ends of β (divided by β it tends to the forward KL at 0, divided by 1 − β to the reverse KL
    at 1), so the ends are refused rather than special-cased.

    Raises:
        ValueError: if `beta` is not strictly between 0 and 1.

    References: generalized Jensen-Shannon divergence in GKD, Agarwal et al. 2023, equation 1,
        https://huggingface.co/papers/2306.13649.

    Relations: between the two KLs; bounded by T² log 2, which they are not.

    Example:
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]).log()
        >>> jensen_shannon(student, teacher).round(decimals=4)
        tensor([0.0338])
    """
    if not 0 < beta < 1:
        raise ValueError(f"js: beta must lie strictly between 0 and 1, got {beta}; use forward_kl or reverse_kl.")
    log_q, log_p = log_probabilities(student_logits, temperature), log_probabilities(teacher_logits, temperature)
    log_beta = torch.log(torch.tensor([beta, 1 - beta], dtype=log_p.dtype, device=log_p.device))
    log_m = torch.logaddexp(log_p + log_beta[0], log_q + log_beta[1])
    return temperature**2 * (beta * kl(log_p, log_m) + (1 - beta) * kl(log_q, log_m))


def cross_entropy(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """`−T² Σ p log q`: the forward KL plus the teacher's own entropy, so not 0 when student and teacher agree.

    References: Hinton et al. 2015, https://huggingface.co/papers/1503.02531.

    Relations: `forward_kl` plus the teacher's entropy; the labels' loss where the teacher is one-hot.

    Example:
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]).log()
        >>> cross_entropy(student, teacher).round(decimals=4)
        tensor([0.6931])
    """
    log_q, log_p = log_probabilities(student_logits, temperature), log_probabilities(teacher_logits, temperature)
    return -(temperature**2) * (log_p.exp() * log_q).sum(-1)


def logit_mse(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """`mean over classes of (s − t)²` on the raw logits. The temperature has no part in it.

    References: Ba & Caruana 2014, https://huggingface.co/papers/1312.6184; Kim et al. 2021,
        https://huggingface.co/papers/2105.08919.

    Relations: for centered logits `forward_kl` tends to half of it as the temperature grows.

    Example:
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]).log()
        >>> logit_mse(student, teacher).round(decimals=4)
        tensor([0.6035])
    """
    return (at_least_float32(student_logits) - at_least_float32(teacher_logits)).square().mean(-1)


def total_variation(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """`T² · ½ Σ |p − q|`: symmetric and bounded by T².

    References: f-DISTILL, Wen et al. 2023, https://huggingface.co/papers/2307.15190.

    Relations: at most √(KL / 2) before the factor T² (Pinsker's inequality), for either KL.

    Example:
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]).log()
        >>> total_variation(student, teacher).round(decimals=4)
        tensor([0.2500])
    """
    log_q, log_p = log_probabilities(student_logits, temperature), log_probabilities(teacher_logits, temperature)
    return temperature**2 * 0.5 * (log_p.exp() - log_q.exp()).abs().sum(-1)


DIVERGENCES: dict[str, Divergence] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "js": jensen_shannon,
    "ce": cross_entropy,
    "mse": logit_mse,
    "tv": total_variation,
}
