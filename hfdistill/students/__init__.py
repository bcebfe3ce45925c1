"""Students made of their teacher's weights: fewer layers, narrower ones, factorized embeddings."""

from hfdistill.students.factory import make_student
from hfdistill.students.layers import choose_layers

__all__ = ["choose_layers", "make_student"]
