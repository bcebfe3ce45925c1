"""Tiny random models, rows and trainers for the tests of the trainer, and the naive formulas to compare with."""

import random

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    TrainerCallback,
)

from hfdistill import DistillationTrainer, DistillationTrainingArguments

torch.set_num_threads(1)  # threads only stand in one another's way over tensors this small

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{index}" for index in range(36))]
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def make_tokenizer():
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **names)


def make_model(seed=0, dropout=0.0, spread=0.4, **changes):
    """A BERT of random weights, spread wide enough that its predictions differ from row to row."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    defaults = {"vocab_size": len(WORDS), "max_position_embeddings": 32, "num_labels": 3, "initializer_range": spread}
    return BertForSequenceClassification(BertConfig(**{**defaults, **sizes, **dropouts, **changes}))


def make_rows(count=16, problem_type=SINGLE, teacher_logits=False, num_labels=3, seed=0):
    """Rows of unequal length, with labels of a kind, and a teacher's predictions where asked for."""
    rng = random.Random(seed)
    columns = {"input_ids": [[2, *rng.choices(range(4, len(WORDS)), k=rng.randint(2, 9)), 3] for _ in range(count)]}
    columns["attention_mask"] = [[1] * len(ids) for ids in columns["input_ids"]]
    if problem_type == SINGLE:
        columns["labels"] = [rng.randrange(num_labels) for _ in range(count)]
    elif problem_type == MULTI:
        columns["labels"] = [[float(rng.randrange(2)) for _ in range(num_labels)] for _ in range(count)]
    else:
        columns["labels"] = [rng.gauss(0, 1) for _ in range(count)]
    if teacher_logits:
        columns["teacher_logits"] = [[rng.gauss(0, 2) for _ in range(num_labels)] for _ in range(count)]
    return Dataset.from_dict(columns)


def unlabel(rows, which):
    """The rows, those of the given numbers without a label."""
    labels = [
        ([-100.0] * len(label) if isinstance(label, list) else -100) if index in which else label
        for index, label in enumerate(rows["labels"])
    ]
    return rows.remove_columns("labels").add_column("labels", labels)


def make_args(out, **changes):
    """Plain SGD, clipped: a gradient that is too large by a factor cannot hide, as it would behind AdamW."""
    defaults = {"per_device_train_batch_size": 8, "num_train_epochs": 2, "optim": "sgd", "learning_rate": 0.05}
    defaults |= {"lr_scheduler_type": "constant", "max_grad_norm": 4.0, "logging_steps": 1, "save_strategy": "no"}
    defaults |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "seed": 3}
    return DistillationTrainingArguments(str(out), **{**defaults, **changes})


def make_trainer(out, student, rows, *, teacher=None, pad_to=None, cls=DistillationTrainer, given=None, **changes):
    """A trainer; `given` are arguments of its constructor, `changes` those of its arguments."""
    tokenizer = make_tokenizer()
    extra = {"teacher": teacher, **(given or {})} if cls is DistillationTrainer else (given or {})
    return cls(
        model=student,
        args=make_args(out, **changes),
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=pad_to),
        **extra,
    )


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def distance(one, other):
    """The largest difference between two sets of weights."""
    assert one.keys() == other.keys()
    return max(((one[name].double() - other[name].double()).abs().max().item() for name in one), default=0.0)


def logs_of(trainer, *names):
    """The values of each training log, as rows."""
    return [[log[name] for name in names] for log in trainer.state.log_history if "loss" in log]


def assert_logs_alike(one, other, *names, rel=1e-4, abs=1e-6):
    """The two trainers logged the same values under these names, step by step."""
    for found, expected in zip(logs_of(one, *names), logs_of(other, *names), strict=True):
        assert found == pytest.approx(expected, rel=rel, abs=abs)


def padded(rows):
    return make_tokenizer().pad({name: rows[name] for name in ("input_ids", "attention_mask")}, return_tensors="pt")


@torch.no_grad()
def logits_of(model, rows):
    return model.eval()(**padded(rows)).logits


def naive_label_loss(logits, labels):
    """The mean of −log p of the labels, row by row; rows of label −100 are passed over."""
    losses = [-row.double().softmax(0)[label].log() for row, label in zip(logits, labels, strict=True) if label != -100]
    return (sum(losses) / len(losses)).item()


def naive_soft_target_loss(student_logits, teacher_logits, temperature):
    """`T² · mean Σ p (log p − log q)`, in probabilities."""
    p = (teacher_logits.double() / temperature).softmax(-1)
    q = (student_logits.double() / temperature).softmax(-1)
    return (temperature**2 * (p * (p / q).log()).sum(-1).mean()).item()


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


class CountCalls(torch.nn.Module):
    """Counts the calls of a model's `forward`."""

    def __init__(self, model):
        super().__init__()
        self.calls = 0
        model.register_forward_hook(self._count)

    def _count(self, *_):
        self.calls += 1


class CopyWeights(TrainerCallback):
    """Keeps the weights after every step."""

    def __init__(self):
        self.steps = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.steps.append(weights(model))


# ---- One run of each kind, for every way to cut its batches ----

#: Rows without a label: in order, not as many in each half or quarter of a batch.
UNEVEN = {0, 1, 2, 5, 9, 13, 14}
IN_ORDER = {"train_sampling_strategy": "sequential"}
#: Ways to cut the same steps of 8 rows into micro-batches.
LAYOUTS = (
    {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
    {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "pad_to": 16},
)


def plain_labels(rows=16):
    return make_model(1), make_rows(rows), None, {"alpha": 0.0}


def stored(rows=16):
    return make_model(1), make_rows(rows, teacher_logits=True), None, {"alpha": 0.7, "temperature": 3.0}


def live(rows=16):
    return make_model(1), make_rows(rows), make_model(2, num_hidden_layers=3), {"alpha": 0.4}


def mixed(rows=16):
    """Some rows have no label, not as many in each micro-batch and rank."""
    dataset = unlabel(make_rows(rows, teacher_logits=True), UNEVEN)
    return make_model(1), dataset, None, {"alpha": 0.7, "temperature": 3.0, **IN_ORDER}


def multi_label(rows=16):
    dataset = unlabel(make_rows(rows, MULTI, teacher_logits=True), UNEVEN)
    return make_model(1, problem_type=MULTI), dataset, None, {"alpha": 0.6, **IN_ORDER}


def regression(rows=16):
    dataset = make_rows(rows, REGRESSION, teacher_logits=True, num_labels=1)
    return make_model(1, problem_type=REGRESSION, num_labels=1), dataset, None, {"alpha": 0.6}


CASES = {case.__name__: case for case in (plain_labels, stored, live, mixed, multi_label, regression)}


def run_case(out, name, rows=16, **layout):
    """Trains a case with its batches cut as `layout` says; the trainer, and the student's weights before."""
    student, dataset, teacher, settings = CASES[name](rows)
    before = weights(student)
    trainer = make_trainer(out, student, dataset, teacher=teacher, **{**settings, **layout})
    trainer.train()
    return trainer, before


# ---- Runs with terms on layers, from a wider and deeper teacher ----


def _on_layers(*terms, **settings):
    def case(rows=16):
        teacher = make_model(2, num_hidden_layers=4, hidden_size=24)
        return make_model(1), make_rows(rows), teacher, {"terms": list(terms), **IN_ORDER, **settings}

    return case


LAYER_CASES = {
    "hidden_states": _on_layers("labels:0.5", "hidden_states:1"),
    "learned_map": _on_layers("labels:0.5", "hidden_states:1", layer_map=["learned"]),
    "least_squares": _on_layers("hidden_states:1", "embeddings:1", "patient:1", projection_init="least_squares"),
    "layers_alone": _on_layers("embeddings:1", "attention_scores:0.1", weight_decay=0.1),
    "minilm": _on_layers("soft_targets:1", "minilm:1", "patient:1", teacher_layer=1),
    "exemplars": _on_layers("exemplars:0.1", "contrastive:0.1"),
}

#: Pairs of examples live within a micro-batch, so that here another cut is another run.
relations = _on_layers("rkd_distance:1", "rkd_angle:1", "similarity:1", "pkt:1", "instance_graph:0.1")


def run_layers(out, name, rows=16, resume=None, **changes):
    """Trains a case of terms on layers; the trainer, and the student's weights before."""
    student, dataset, teacher, settings = {**LAYER_CASES, "relations": relations}[name](rows)
    before = weights(student)
    trainer = make_trainer(out, student, dataset, teacher=teacher, **{**settings, **changes})
    trainer.train(resume_from_checkpoint=resume)
    return trainer, before
