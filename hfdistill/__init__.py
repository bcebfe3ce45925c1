"""Distillation for Hugging Face transformers: a fine-tuned model goes in, a small fast student comes out."""

from hfdistill.augmentation import augment
from hfdistill.objective import Objective
from hfdistill.online import Branches, OnlineTrainer, Peers
from hfdistill.schedules import Schedule
from hfdistill.self_distillation import born_again
from hfdistill.seq2seq import Seq2SeqDistillationTrainer, Seq2SeqTeacher, token_soft_targets
from hfdistill.sequence_level import pseudo_translations, transfer_set
from hfdistill.soft_targets import StaleSoftTargets, soft_targets
from hfdistill.students import make_student
from hfdistill.teachers import (
    Combination,
    EnsembleTeacher,
    LanguageModelTeacher,
    MediaTeacher,
    ModelTeacher,
    MovingAverageTeacher,
    Teacher,
    TeacherSignal,
)
from hfdistill.trainer import DistillationTrainer
from hfdistill.training_args import DistillationTrainingArguments, Seq2SeqDistillationTrainingArguments

__version__ = "0.1.0"

__all__ = [
    "Branches",
    "Combination",
    "DistillationTrainer",
    "DistillationTrainingArguments",
    "EnsembleTeacher",
    "LanguageModelTeacher",
    "MediaTeacher",
    "ModelTeacher",
    "MovingAverageTeacher",
    "Objective",
    "OnlineTrainer",
    "Peers",
    "Schedule",
    "Seq2SeqDistillationTrainer",
    "Seq2SeqDistillationTrainingArguments",
    "Seq2SeqTeacher",
    "StaleSoftTargets",
    "Teacher",
    "TeacherSignal",
    "augment",
    "born_again",
    "make_student",
    "pseudo_translations",
    "soft_targets",
    "token_soft_targets",
    "transfer_set",
]
