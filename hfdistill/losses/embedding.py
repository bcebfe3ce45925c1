"""A term on the embeddings of texts."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from hfdistill.losses.base import Batch, StudentOutput, Term
from hfdistill.losses.divergences import at_least_float32
from hfdistill.losses.signal import TeacherSignal


class CosineEmbedding(Term):
    """The direction of the teacher's embedding as the target: `1 − cos(s, t)`.

    An item is a text. Of normalized embeddings it is half of the squared distance.

    Returns: One loss for each text, shape `(batch,)`.

    References: Sanh et al. 2019, section 2, https://huggingface.co/papers/1910.01108, there for hidden states.

    Relations: `SoftTargets` of embeddings is their squared distance, a mean over dimensions (Reimers and Gurevych 2020,
        https://huggingface.co/papers/2004.09813).

    Example:
        >>> student, teacher = (TeacherSignal(logits=torch.tensor([row])) for row in ([1.0, 0.0], [3.0, 4.0]))
        >>> CosineEmbedding()(student, teacher, {}).round(decimals=4)
        tensor([0.4000])
    """

    name = "cosine_embedding"
    citation = "https://huggingface.co/papers/1910.01108"

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        assert teacher is not None and teacher.logits is not None
        logits = at_least_float32(student.logits), at_least_float32(teacher.logits)
        return 1 - F.cosine_similarity(*logits, dim=-1)
