"""Hard labels of speech: a text and no word of which frame is which letter (connectionist temporal classification)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hfdistill.losses.base import Batch, StudentOutput
from hfdistill.losses.divergences import at_least_float32
from hfdistill.losses.response import Labels, labeled
from hfdistill.losses.signal import TeacherSignal
from hfdistill.models.sequences import SEQUENCE_MASK


class CTCLabels(Labels):
    """The hard labels' loss of speech: `−log p(y | x) / |y|`, where p sums over all ways to spread y over the frames.

    Between letters, and where none is heard, a frame may say the blank, which is no letter. An item is a row: the loss
    is a mean over rows of the loss a letter, as in `transformers` with `ctc_loss_reduction="mean"`, whatever the config
    says. A row whose labels are all -100 counts for nothing. Of each row only the frames that hold sound are looked at.

    Args:
        blank: The id of the blank: `config.pad_token_id` of the models of `transformers`.

    Returns: One loss for each row, shape `(batch,)`.

    Raises:
        ValueError: where a row has fewer frames than its labels need, of which equal ones need a blank between them.
            (On an accelerator the loss is infinite then: it would have to wait for every step. A `Dataset` is looked
            through before.)

    References: Graves et al. 2006, equations 3 and 8, https://www.cs.toronto.edu/~graves/icml_2006.pdf.

    Relations: `SoftTargets` compares frame by frame, the blank included.

    Example:
        >>> student = TeacherSignal(logits=torch.zeros(1, 2, 3))
        >>> heard = torch.ones(1, 2, dtype=torch.bool)
        >>> CTCLabels(blank=0)(student, None, {"labels": torch.tensor([[2]]), SEQUENCE_MASK: heard}).round(decimals=4)
        tensor([1.0986])
    """

    citation = "https://www.cs.toronto.edu/~graves/icml_2006.pdf"
    settings = {"blank": "blank"}

    def __init__(self, blank: int = 0) -> None:
        super().__init__()
        self.blank = blank

    @property
    def needs(self) -> str:
        return "such as labels, the letters of what is said"

    def valid(self, batch: Batch) -> Tensor:
        return labeled(batch["labels"]).any(1) if "labels" in batch else super().valid(batch)

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        logits = at_least_float32(student.logits)
        if "labels" not in batch:
            return 0.0 * logits.flatten(1).sum(1)
        letters = labeled(batch["labels"])
        frames, lengths = batch[SEQUENCE_MASK].sum(1), letters.sum(1)
        log_q = logits.log_softmax(-1).transpose(0, 1)
        losses = F.ctc_loss(log_q, batch["labels"][letters], frames, lengths, self.blank, reduction="none")
        if losses.device.type == "cpu":
            _check_finite(losses.detach(), frames, lengths)
        return losses / lengths.clamp_min(1)

    def config(self) -> dict[str, Any]:
        return {"blank": self.blank}


def _check_finite(losses: Tensor, frames: Tensor, lengths: Tensor) -> None:
    impossible = torch.isposinf(losses).nonzero()
    if len(impossible):
        row = int(impossible[0])
        raise ValueError(
            f"row {row} of the batch has {int(frames[row])} frames for {int(lengths[row])} labels, of which equal ones "
            "next to each other need a blank between them: leave such rows out (dataset.filter), or cut the recording "
            "and its text alike."
        )
