"""What the tests of terms on layers share: two small BERTs of unlike shape, a padded batch, and its naive tokens."""

import torch
from tiny import make_model, make_rows, padded

from hfdistill import Objective, TeacherSignal
from hfdistill.models.intermediate_outputs import forward

ROWS = 6
SAME_HEADS = {"num_hidden_layers": 4, "hidden_size": 24, "num_attention_heads": 2}


def teacher_model(**changes):
    return make_model(2, **{"num_hidden_layers": 4, "hidden_size": 24, "num_attention_heads": 4, **changes})


class Case:
    """A term bound to a student (2 layers, width 16, 2 heads) and a teacher, and their outputs for a batch of rows."""

    def __init__(self, term, rows=range(ROWS), **teacher):
        self.term = term
        self.student_model = make_model(1)
        self.teacher_model = teacher_model(**teacher)
        self.objective = Objective({"term": (1.0, term)})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.objective.bind(self.student_model, self.teacher_model)
        self.batch = dict(padded(make_rows(ROWS).select(rows)))
        with torch.no_grad():
            prediction = forward(self.teacher_model.eval(), self.batch, term.outputs)
        self.teacher = TeacherSignal(prediction.logits, **{name: getattr(prediction, name) for name in term.outputs})
        self.student = forward(self.student_model, self.batch, term.outputs)

    def loss(self):
        return self.objective(self.student, self.teacher, self.batch).total

    def tokens(self):
        """The attended positions of each row."""
        return [int(length) for length in self.batch["attention_mask"].sum(1)]

    def states(self, layer, row, who="student"):
        """The hidden states of a row's tokens after a layer (from 0; -1 for the embeddings), `(tokens, width)`."""
        model = self.student if who == "student" else self.teacher
        return model.hidden_states[layer + 1][row, : self.tokens()[row]].detach().double()

    def vectors(self, kind, layer, row, who="student"):
        """The queries, keys or values of a row's tokens, `(tokens, width)`."""
        model = self.student if who == "student" else self.teacher
        return getattr(model, kind)[layer][row, : self.tokens()[row]].detach().double()
