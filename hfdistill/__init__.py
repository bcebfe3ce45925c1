"""Distillation for Hugging Face transformers: a fine-tuned model goes in, a small fast student comes out."""

from hfdistill.data.augmentation.rows import augment
from hfdistill.losses.schedules import Schedule
from hfdistill.online import Branches, OnlineTrainer, Peers
from hfdistill.soft_targets import StaleSoftTargets, soft_targets
from hfdistill.soft_targets.target_tokens import token_soft_targets
from hfdistill.students import make_student
from hfdistill.tasks.translation.pseudo_translations import pseudo_translations
from hfdistill.tasks.translation.transfer_set import transfer_set
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
from hfdistill.teachers.seq2seq import Seq2SeqTeacher
from hfdistill.training.arguments import DistillationTrainingArguments, Seq2SeqDistillationTrainingArguments
from hfdistill.training.objective import Objective
from hfdistill.training.self_distillation import born_again
from hfdistill.training.seq2seq import Seq2SeqDistillationTrainer
from hfdistill.training.trainer import DistillationTrainer

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
