"""Distributions over a large vocabulary of which a part is kept, and what a student can learn from such a part.

Two ways to choose the part, each with its missing mass accounted for:

* `TopK`, the k likeliest tokens and one bucket for all others (a "ghost token", Anshumann et al. 2025). The student is
  compared with the teacher on these k + 1 outcomes, which is never more than the whole divergence and 0 where both
  agree; how the student spreads its mass within the bucket is not taught, so that the gradient is **biased**. Without
  the bucket, renormalized, it would even teach that all other tokens are impossible.
* `Sampled`, tokens sampled from the teacher's distribution, each weighted by its number of samples. The expected
  cross-entropy and its gradient are those of the whole distribution: **unbiased**, at the price of noise that falls
  with k and over a batch ("random sampling KD", there too, with the teacher's own distribution as the proposal).

Either holds at the one temperature it was made at: a part of a distribution does not determine those at other
temperatures. The flatter the teacher, the more lies outside of any k tokens: at temperature 2 rather take samples.

References: Anshumann et al. 2025, Sparse Logit Sampling, https://huggingface.co/papers/2503.16870.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from hfdistill.losses.divergences import at_least_float32


@dataclass(frozen=True)
class SparseDistribution:
    """A part of each of some distributions.

    Args:
        ids: The tokens of each part, shape `(..., entries)`.
        probabilities: Their probabilities, or estimates of them, same shape; 0 where a part has fewer entries.
        rest: The probability of all other tokens together, shape `(...)`; `None` when they are estimated to have none,
            and only then parts differ in size.
        negative_entropy: `Σ p log p` of what is compared, shape `(...)`: what the forward KL is more than the
            cross-entropy.
        temperature: The temperature of these probabilities.
    """

    ids: Tensor
    probabilities: Tensor
    rest: Tensor | None
    negative_entropy: Tensor
    temperature: float

    @classmethod
    def of_batch(cls, columns: Mapping[str, Tensor]) -> SparseDistribution:
        """Those of a batch's rows, as `soft_targets.packing` lays them out."""
        temperature = float(columns["temperature"][0])
        tensors = {name: columns.get(name) for name in ("ids", "probabilities", "rest", "negative_entropy")}
        return cls(**tensors, temperature=temperature)  # type: ignore[arg-type]

    def of(self, items: Tensor | slice) -> SparseDistribution:
        """The distributions of some items only, by their number."""
        rest = None if self.rest is None else self.rest.flatten()[items]
        ids, probabilities = (entries.flatten(0, -2)[items] for entries in (self.ids, self.probabilities))
        return SparseDistribution(ids, probabilities, rest, self.negative_entropy.flatten()[items], self.temperature)

    def cross_entropy(self, log_q: Tensor) -> Tensor:
        """`−Σ p log q` of each distribution, shape `(...)`; the student's `log_q` has shape `(..., classes)`."""
        known = -(self.probabilities * log_q.gather(-1, self.ids)).sum(-1)
        if self.rest is None:
            return known
        # Not minus infinity: where there are no others 0 times their logarithm must be 0, as must its gradient.
        others = log_q.scatter(-1, self.ids, torch.finfo(log_q.dtype).min).logsumexp(-1)
        return known - self.rest * others


class Entries(NamedTuple):
    """What is kept of the distributions of some tokens, one after the other.

    Args:
        sizes: How many entries each token has, shape `(tokens,)`.
        ids: The entries' tokens, shape `(entries,)`.
        weights: What the method keeps of each entry.
        extra: What it keeps of each token beside them, shape `(tokens,)`.
    """

    sizes: np.ndarray
    ids: np.ndarray
    weights: np.ndarray
    extra: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Entries]) -> Entries:
        """Those of all parts, one after the other."""
        return cls(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def split(self, tokens: Sequence[int]) -> list[Entries]:
        """Apart again, into those of so many tokens each."""
        ends = np.cumsum(tokens)[:-1]
        bounds = np.append(0, self.sizes.cumsum())[ends]
        sizes, extra = np.split(self.sizes, ends), np.split(self.extra, ends)
        ids, weights = np.split(self.ids, bounds), np.split(self.weights, bounds)
        return [Entries(*each) for each in zip(sizes, ids, weights, extra, strict=True)]


class Method(Protocol):
    """How a distribution becomes a part of itself."""

    def keep(self, log_p: Tensor, k: int, offsets: Tensor) -> Entries:
        """The part of each distribution; `log_p` has shape `(tokens, classes)`, `offsets` random numbers in [0, 1)."""

    def pack(self, weights: np.ndarray, k: int) -> bytes:
        """The weights of whole tokens as bytes, in a number that `unpack` can tell from the number of tokens."""

    def unpack(self, packed: memoryview, k: int, tokens: int) -> tuple[np.ndarray, np.ndarray, int]:
        """The sizes and the weights of so many tokens, and how many bytes they were."""

    def distribution(self, weights: np.ndarray, extra: np.ndarray, k: int) -> dict[str, np.ndarray]:
        """Fields of a `SparseDistribution`; `weights` has shape `(..., entries)`, NaN where there is none."""


class TopK:
    """The k likeliest tokens by float16 logarithms of their probabilities, and that of all others together."""

    def keep(self, log_p: Tensor, k: int, offsets: Tensor) -> Entries:
        top, ids = at_least_float32(log_p).topk(k, dim=-1)
        rest = log_p.scatter(-1, ids, -torch.inf).logsumexp(-1)
        sizes = np.full(len(log_p), k)
        return Entries(sizes, _numpy(ids.flatten()), _numpy(top.flatten()), _numpy(rest))

    def pack(self, weights: np.ndarray, k: int) -> bytes:
        return weights.astype(np.float16).tobytes()

    def unpack(self, packed: memoryview, k: int, tokens: int) -> tuple[np.ndarray, np.ndarray, int]:
        weights = np.frombuffer(packed, np.float16, tokens * k).astype(np.float32)
        return np.full(tokens, k), weights, 2 * tokens * k

    def distribution(self, weights: np.ndarray, extra: np.ndarray, k: int) -> dict[str, np.ndarray]:
        outcomes = np.nan_to_num(np.exp(np.concatenate([weights, extra[..., None]], axis=-1)))
        # To sum to 1 again after rounding; tokens without a label have no outcome.
        outcomes /= np.maximum(outcomes.sum(-1, keepdims=True), np.finfo(np.float32).tiny)
        entropy = (outcomes * np.log(np.where(outcomes > 0, outcomes, 1))).sum(-1)
        return {"probabilities": outcomes[..., :-1], "rest": outcomes[..., -1], "negative_entropy": entropy}


class Sampled:
    """k samples of the distribution: the sampled tokens, how often each was sampled, and the exact entropy.

    The samples are the tokens at k equal steps through the cumulated probabilities, from one random start (systematic
    sampling). As with independent samples a token of probability p is expected k·p times; but its count is never off
    by as much as 1, where those of independent samples scatter by `√(k p (1 − p))`.
    """

    def keep(self, log_p: Tensor, k: int, offsets: Tensor) -> Entries:
        log_p = (log_p.cpu() if log_p.device.type == "mps" else log_p).double()  # MPS has no float64
        p = log_p.exp()
        reached = p.cumsum(-1)
        steps = (k * (reached / reached[:, -1:]) + offsets.to(p.device)[:, None]).floor()
        steps = steps.clamp_max(k)  # where k plus an offset just below 1 is rounded to k + 1
        counts = steps.diff(dim=-1, prepend=torch.zeros_like(steps[:, :1]))
        token, ids = counts.nonzero(as_tuple=True)
        entropy = torch.special.xlogy(p, p).sum(-1)
        sizes = token.bincount(minlength=len(p))
        return Entries(_numpy(sizes), _numpy(ids), _numpy(counts[token, ids]), _numpy(entropy))

    def pack(self, weights: np.ndarray, k: int) -> bytes:
        # A bit for each sample: whether it is the first of its token. Every k samples begin another token of the text.
        counts = weights.astype(np.int64)
        first = np.zeros(counts.sum(), np.uint8)
        first[counts.cumsum() - counts] = 1
        return np.packbits(first).tobytes()

    def unpack(self, packed: memoryview, k: int, tokens: int) -> tuple[np.ndarray, np.ndarray, int]:
        used = (tokens * k + 7) // 8
        first = np.flatnonzero(np.unpackbits(np.frombuffer(packed[:used], np.uint8), count=tokens * k))
        counts = np.diff(first, append=tokens * k)
        return np.bincount(first // k, minlength=tokens), counts.astype(np.float32), used

    def distribution(self, weights: np.ndarray, extra: np.ndarray, k: int) -> dict[str, np.ndarray]:
        return {"probabilities": np.nan_to_num(weights) / k, "negative_entropy": np.nan_to_num(extra)}


def _numpy(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.cpu().numpy())


METHODS: dict[str, Method] = {"top_k": TopK(), "sampled": Sampled()}
