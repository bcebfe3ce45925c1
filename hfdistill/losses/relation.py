"""Terms on how examples relate to one another, rather than on each by itself.

An example is represented by its first token's last hidden state, so that teacher and student may differ in width and
in tokenizer. Its partners are the other examples of its micro-batch on its rank: a batch cut in two has half of the
pairs, and two ranks train as two micro-batches of one process would. What an example's pairs teach is averaged over
its partners, so that each example weighs the same however the batch is cut.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from hfdistill.losses.base import COUNTED_ROWS, Batch, StudentOutput, Term
from hfdistill.losses.divergences import at_least_float32
from hfdistill.losses.signal import TeacherSignal


class Relation(Term):
    """A term whose items are examples, each compared with its partners.

    Class attributes:
        examples_needed: In a micro-batch of fewer examples there is nothing to learn, so that they do not count. Of two
            there is one pair, and its share of all pairs is 1 for whatever student.
    """

    outputs = frozenset({"hidden_states"})
    reads_first_token = True
    examples_needed: ClassVar[int] = 3

    @property
    def needs(self) -> str:
        return f"such as {self.examples_needed} in a micro-batch (per_device_train_batch_size)"

    def valid(self, batch: Batch) -> Tensor:
        counted = counted_rows(batch, super().valid(batch))
        return counted & (counted.sum() >= self.examples_needed)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        student_vectors, teacher_vectors = first_token(student), first_token(teacher)
        return self.compare(student_vectors, teacher_vectors, partners(counted_rows(batch, super().valid(batch))))

    def compare(self, student: Tensor, teacher: Tensor, pairs: Tensor) -> Tensor:
        """The loss of each example.

        Args:
            student: The student's vectors, `(examples, width)`.
            teacher: The teacher's, of any width.
            pairs: Which examples are partners, `(examples, examples)`.
        """
        raise NotImplementedError


def counted_rows(batch: Batch, every: Tensor) -> Tensor:
    """The rows that count, out of `every` row."""
    return every & batch[COUNTED_ROWS] if COUNTED_ROWS in batch else every


def first_token(model: Any, layer: int = -1) -> Tensor:
    """The first token's hidden state, `(examples, width)`, in float32 at least."""
    return at_least_float32(model.hidden_states[layer][:, 0])


def partners(counted: Tensor) -> Tensor:
    """For each example, which others it is compared with: those that count, and not itself."""
    return counted[None] & ~torch.eye(len(counted), dtype=torch.bool, device=counted.device)


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` over the last dimension where `mask` holds; 0 where it never does."""
    return values.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1).clamp_min(1)


def relative_distances(vectors: Tensor, pairs: Tensor) -> Tensor:
    """`‖x_i − x_j‖` divided by its mean over all pairs, `(examples, examples)`."""
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    return distances / mean_over(distances.flatten(), (pairs & pairs.T).flatten()).clamp_min(1e-12)


class RelationalDistance(Relation):
    """How far apart two examples are, as a share of the mean distance (RKD-D): `huber(ψ_t, ψ_s)`.

    `ψ(x_i, x_j) = ‖x_i − x_j‖ / μ`, where μ is the mean over the pairs of the micro-batch; the Huber loss is squared
    below 1. An item is an example: the mean over its partners.

    With `rkd_angle`, weighted 25 to 50, it gained +1.02 ± 1.05 points of accuracy on SST-2, two seeds: no sure gain.

    Returns: One loss for each example, shape `(batch,)`.

    References: Park et al. 2019, section 3.2.1, https://huggingface.co/papers/1904.05068.

    Relations: `RelationalAngle` compares triples; the paper trains on both.

    Example:
        >>> student = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
        >>> teacher = torch.tensor([[0.0], [2.0], [1.0]])
        >>> pairs = partners(torch.ones(3, dtype=torch.bool))
        >>> RelationalDistance().compare(student, teacher, pairs).round(decimals=4)
        tensor([0.0526, 0.0610, 0.1129])
    """

    name = "rkd_distance"
    citation = "https://huggingface.co/papers/1904.05068"

    def compare(self, student: Tensor, teacher: Tensor, pairs: Tensor) -> Tensor:
        student_distances, teacher_distances = (relative_distances(vectors, pairs) for vectors in (student, teacher))
        return mean_over(F.smooth_l1_loss(student_distances, teacher_distances, reduction="none"), pairs)


class RelationalAngle(Relation):
    """The angle between the directions from an example to two others (RKD-A): `huber(cos ∠_t, cos ∠_s)`.

    `cos ∠(x_i, x_j, x_k) = ⟨e_ij, e_kj⟩` with `e_ij = (x_i − x_j) / ‖x_i − x_j‖`. An item is the example x_j in
    the corner: the mean over the pairs of its partners. Memory grows with the examples' cube.

    Measured together with `rkd_distance` only: +1.02 ± 1.05 points of accuracy on SST-2, two seeds, no sure gain.

    Returns: One loss for each example, shape `(batch,)`.

    References: Park et al. 2019, section 3.2.2, https://huggingface.co/papers/1904.05068.

    Relations: `RelationalDistance` compares pairs, in memory that grows with their square alone.

    Example:
        >>> student, teacher = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.eye(3)
        >>> pairs = partners(torch.ones(3, dtype=torch.bool))
        >>> RelationalAngle().compare(student, teacher, pairs).round(decimals=4)
        tensor([0.1007, 0.7071, 0.0778])
    """

    name = "rkd_angle"
    citation = "https://huggingface.co/papers/1904.05068"

    def compare(self, student: Tensor, teacher: Tensor, pairs: Tensor) -> Tensor:
        student_angles, teacher_angles = (_angles(vectors) for vectors in (student, teacher))
        apart = ~torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)
        triples = pairs[:, :, None] & pairs[:, None, :] & apart
        losses = F.smooth_l1_loss(student_angles, teacher_angles, reduction="none")
        return mean_over(losses.flatten(1), triples.flatten(1))


def _angles(vectors: Tensor) -> Tensor:
    """`[j, i, k]`: the cosine of the angle at j between i and k."""
    directions = F.normalize(vectors[None] - vectors[:, None], dim=-1)
    return directions @ directions.transpose(1, 2)


class SimilarityPreserving(Relation):
    """Similar activations where the teacher's are similar: `mean over j of (G_t[i, j] − G_s[i, j])²`.

    G is `X Xᵀ` with each row normalized. An item is an example, its row; itself included, as in the paper.

    On SST-2 it gained nothing: +0.08 ± 0.74 points of accuracy, two seeds.

    Returns: One loss for each example, shape `(batch,)`.

    References: Tung & Mori 2019, section 3, https://huggingface.co/papers/1907.09682.

    Relations: `ProbabilisticTransfer` compares cosines as distributions.

    Example:
        >>> student, teacher = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.eye(3)
        >>> pairs = partners(torch.ones(3, dtype=torch.bool))
        >>> SimilarityPreserving().compare(student, teacher, pairs).round(decimals=4)
        tensor([0.0950, 0.1953, 0.1461])
    """

    name = "similarity"
    citation = "https://huggingface.co/papers/1907.09682"
    examples_needed = 2

    def compare(self, student: Tensor, teacher: Tensor, pairs: Tensor) -> Tensor:
        columns = pairs.any(0, keepdim=True)  # those of the examples that count
        student_rows, teacher_rows = (
            F.normalize((vectors @ vectors.T).masked_fill(~columns, 0.0), dim=-1) for vectors in (student, teacher)
        )
        return mean_over((student_rows - teacher_rows).square(), columns)


class ProbabilisticTransfer(Relation):
    """Each example's distribution over its neighbors (PKT): `KL(p_t(·|i) ‖ p_s(·|i))`.

    `p(j|i)` is proportional to `(cos(x_i, x_j) + 1) / 2`, over the partners of example i, which is the item.

    Its gain was not measured here.

    Returns: One loss for each example, shape `(batch,)`.

    References: Passalis & Tefas 2018, section 3, https://huggingface.co/papers/1803.10837.

    Relations: `SimilarityPreserving` compares the similarities themselves.

    Example:
        >>> student, teacher = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.eye(3)
        >>> pairs = partners(torch.ones(3, dtype=torch.bool))
        >>> ProbabilisticTransfer().compare(student, teacher, pairs).round(decimals=4)
        tensor([0.0274, 0.0017, 0.0426])
    """

    name = "pkt"
    citation = "https://huggingface.co/papers/1803.10837"

    def compare(self, student: Tensor, teacher: Tensor, pairs: Tensor) -> Tensor:
        log_q, log_p = (_log_neighbors(vectors, pairs) for vectors in (student, teacher))
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).masked_fill(~pairs, 0.0).sum(-1)


def _log_neighbors(vectors: Tensor, pairs: Tensor) -> Tensor:
    directions = F.normalize(vectors, dim=-1)
    kernel = ((directions @ directions.T + 1) / 2).clamp_min(1e-7)  # opposite vectors would give log 0
    total = kernel.masked_fill(~pairs, 0.0).sum(-1, keepdim=True).clamp_min(1e-7)
    return kernel.log() - total.log()
