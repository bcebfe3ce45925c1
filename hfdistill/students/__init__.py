"""Students made of their teacher's weights: fewer layers, narrower ones, factorized embeddings, fewer tokens."""

from hfdistill.students.dropout import set_dropout
from hfdistill.students.factory import make_student
from hfdistill.students.layers import choose_layers
from hfdistill.students.vocabulary import TrimmedVocabulary, trim_vocabulary

__all__ = ["TrimmedVocabulary", "choose_layers", "make_student", "set_dropout", "trim_vocabulary"]
