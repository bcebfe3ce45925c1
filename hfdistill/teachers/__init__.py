"""Teachers. Each turns a batch into a `TeacherSignal`, and knows nothing of the losses that read it.

`ModelTeacher` runs a model that reads text, `LanguageModelTeacher` one that predicts the next token, `MediaTeacher` one
of images or sound, `EnsembleTeacher` several, `MovingAverageTeacher` the average of the student's weights;
`StoredTeacher` reads precomputed soft targets. Another kind of teacher is another subclass of `Teacher`: its `columns`
and `pad` bring it what it reads of a row.
"""

from hfdistill.teachers.base import (
    ENSEMBLE_LOGITS,
    NO_CONTEXT,
    PREFIX,
    SOFT_TARGETS,
    TEACHER_DISAGREEMENT,
    TEACHER_LABEL,
    TEACHER_LOGITS,
    TEACHER_TOKENS,
    Teacher,
    TeacherContext,
    TeacherSignal,
    check_finite,
)
from hfdistill.teachers.combination import COMBINATIONS, Combination, disagreement
from hfdistill.teachers.ensemble import EnsembleTeacher
from hfdistill.teachers.ensemble_model import EnsembleModel
from hfdistill.teachers.factory import as_teacher
from hfdistill.teachers.language_model import LanguageModelTeacher, as_language_model_teacher
from hfdistill.teachers.learned_weights import learned_weights
from hfdistill.teachers.media import MediaTeacher
from hfdistill.teachers.model import ModelTeacher
from hfdistill.teachers.moving_average import MovingAverageTeacher
from hfdistill.teachers.stored import StoredTeacher

__all__ = [
    "COMBINATIONS",
    "ENSEMBLE_LOGITS",
    "NO_CONTEXT",
    "PREFIX",
    "SOFT_TARGETS",
    "TEACHER_DISAGREEMENT",
    "TEACHER_LABEL",
    "TEACHER_LOGITS",
    "TEACHER_TOKENS",
    "Combination",
    "EnsembleModel",
    "EnsembleTeacher",
    "LanguageModelTeacher",
    "MediaTeacher",
    "ModelTeacher",
    "MovingAverageTeacher",
    "StoredTeacher",
    "Teacher",
    "TeacherContext",
    "TeacherSignal",
    "as_language_model_teacher",
    "as_teacher",
    "check_finite",
    "disagreement",
    "learned_weights",
]
