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

    def __init__(self, term, rows=range(ROWS), dtype=torch.float32, pad_to=None, twins=False, **teacher):
        self.term = term
        self.student_model = make_model(1).to(dtype)
        self.teacher_model = make_model(1) if twins else teacher_model(**teacher).to(dtype)
        self.objective = Objective({"term": (1.0, term)})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.objective.bind(self.student_model, self.teacher_model)
        self.objective.to(torch.float64 if dtype == torch.float64 else torch.float32)
        self.batch = dict(padded(make_rows(ROWS).select(rows)))
        if pad_to is not None:
            missing = pad_to - self.batch["input_ids"].shape[1]
            self.batch = {name: torch.nn.functional.pad(tensor, (0, missing)) for name, tensor in self.batch.items()}
        with torch.no_grad():
            prediction = forward(self.teacher_model.eval(), self.batch, term.outputs)
        self.teacher = TeacherSignal(prediction.logits, **{name: getattr(prediction, name) for name in term.outputs})
        self.student = forward(self.student_model, self.batch, term.outputs)

    def loss(self, counts=None):
        return self.objective(self.student, self.teacher, self.batch, counts).total

    def count(self):
        return self.objective.counts([self.batch])

    def gradients(self, counts=None):
        """Of the student and of what the objective learns, by name; zero where there is none."""
        models = {"student": self.student_model, "objective": self.objective}
        self.loss(counts).backward()
        named = [(f"{kind}.{name}", p) for kind, model in models.items() for name, p in model.named_parameters()]
        return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in named}

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


def assert_same(ours, theirs, **tolerance):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], **{"rtol": 1e-4, "atol": 1e-5, **tolerance}, msg=name)
