"""Students made of their teacher's weights: fewer layers, narrower ones, fewer columns of words."""

from hfdistill.students.layers import choose_layers, make_student

__all__ = ["choose_layers", "make_student"]
