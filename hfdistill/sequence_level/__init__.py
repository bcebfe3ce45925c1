"""Sequence-level distillation: the teacher translates the training texts once, and the student learns from that.

The student sees one consistent translation of each text in place of people's many ways to put it, which is what makes
it small (Kim & Rush 2016, https://huggingface.co/papers/1606.07947). Source texts alone are enough, and the student's
vocabulary may be another than the teacher's.
"""

from hfdistill.sequence_level.training_pairs import CHOICES, TransferReport, transfer_set
from hfdistill.sequence_level.translations import TRANSLATIONS, pseudo_translations

__all__ = ["CHOICES", "TRANSLATIONS", "TransferReport", "pseudo_translations", "transfer_set"]
