"""One run of the stock trainer and one of ours, on labels alone, and what must not differ between the two."""

import os

import pytest
from tiny import distance, make_model, make_rows, make_tokenizer, weights
from tiny_seq2seq import make_pairs, make_seq2seq
from transformers import (
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
    set_seed,
)

from hfdistill import (
    DistillationTrainer,
    DistillationTrainingArguments,
    Seq2SeqDistillationTrainer,
    Seq2SeqDistillationTrainingArguments,
)
from hfdistill.training.checkpoints import SETTINGS_FILE

#: With alpha 0 the objective is the mean cross-entropy that the model itself would compute.
LABELS_ALONE = {"alpha": 0.0}
PLAIN = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "num_train_epochs": 2, "optim": "sgd"}
PLAIN |= {"learning_rate": 0.05, "max_grad_norm": 0.5, "logging_steps": 1, "save_strategy": "no", "report_to": "none"}
PLAIN |= {"disable_tqdm": True, "use_cpu": True, "seed": 3}

#: The ends of names of what a clock says, and the memory.
CLOCK = ("runtime", "per_second", "preparation_time", "alloc_delta", "peaked_delta", "before_init_mem_cpu")


def trainer_of(ours, out, *, seq2seq=False, **changes):
    """A trainer, of ours or the stock one, and of either kind.

    Args:
        ours: Whether it is the one of this package.
        out: Its folder's parent.
        seq2seq: Whether the model writes text.
        **changes: Its training arguments, and those of its constructor, which may be functions that make them: for
            what cannot be shared by two runs. `classes` are subclasses, by `ours`.
    """
    arguments = Seq2SeqTrainingArguments if seq2seq else TrainingArguments
    if ours:
        arguments = Seq2SeqDistillationTrainingArguments if seq2seq else DistillationTrainingArguments
    given = _given(seq2seq)
    for name in [name for name in changes if name not in arguments.__dataclass_fields__]:
        given[name] = changes.pop(name)
    given = {name: value() if name in MADE and callable(value) else value for name, value in given.items()}
    stock = Seq2SeqTrainer if seq2seq else Trainer
    cls = given.pop("classes", {}).get(ours) or (OURS[stock] if ours else stock)
    args = arguments(str(out / ("ours" if ours else "stock")), **{**PLAIN, **(LABELS_ALONE if ours else {}), **changes})
    return cls(args=args, **given)


OURS = {Trainer: DistillationTrainer, Seq2SeqTrainer: Seq2SeqDistillationTrainer}
#: Arguments of the constructor that are made anew for each trainer.
MADE = ("model", "train_dataset", "eval_dataset", "callbacks", "optimizers")


def _given(seq2seq):
    tokenizer = make_tokenizer()
    if seq2seq:
        return {
            "model": lambda: make_seq2seq(seed=1),
            "train_dataset": make_pairs,
            "eval_dataset": lambda: make_pairs(12, seed=1),
            "processing_class": tokenizer,
            "data_collator": DataCollatorForSeq2Seq(tokenizer),
        }
    return {
        "model": lambda: make_model(1, dropout=0.1),
        "train_dataset": make_rows,
        "eval_dataset": lambda: make_rows(12, seed=1),
        "processing_class": tokenizer,
    }


def both(out, **changes):
    """A stock trainer and ours, made alike."""
    made = []
    for ours in (False, True):
        set_seed(0)
        made.append(trainer_of(ours, out, **changes))
    return made


def train_both(out, resume=None, **changes):
    """As `both`, after training."""
    made = []
    for ours in (False, True):
        set_seed(0)
        made.append(trainer_of(ours, out, **changes))
        made[-1].train(resume_from_checkpoint=resume)
    return made


def figures(values):
    """Of a dictionary of metrics or logs what no clock tells."""
    return {name: value for name, value in values.items() if not name.endswith(CLOCK)}


def assert_reports_as_much(stock, ours, rel=1e-4):
    """What the stock trainer tells ours tells as well, by the same names."""
    expected = figures(stock)
    assert expected.keys() <= ours.keys()
    assert {name: ours[name] for name in expected} == pytest.approx(expected, rel=rel, abs=1e-6)


def files_of(folder):
    """Every file below a folder, as paths from there."""
    return {os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names}


def assert_same_run(stock, ours, near=2e-6, rel=1e-4):
    """The two trained one student, logged the same, and left the same files."""
    assert distance(weights(stock.model), weights(ours.model)) < near
    assert len(stock.state.log_history) == len(ours.state.log_history)
    for one, other in zip(stock.state.log_history, ours.state.log_history, strict=True):
        assert_reports_as_much(one, other, rel)
    for name in ("global_step", "epoch", "max_steps", "num_train_epochs", "best_global_step", "num_input_tokens_seen"):
        assert getattr(stock.state, name) == getattr(ours.state, name), name
    assert ours.state.best_metric == (stock.state.best_metric and pytest.approx(stock.state.best_metric))
    assert stock.state.total_flos == ours.state.total_flos
    more = files_of(ours.args.output_dir) - files_of(stock.args.output_dir)
    assert {os.path.basename(path) for path in more} <= {SETTINGS_FILE}
    assert files_of(stock.args.output_dir) <= files_of(ours.args.output_dir)
