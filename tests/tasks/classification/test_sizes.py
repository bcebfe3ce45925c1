"""Ready sizes of students: what they cost, and that they are what a student becomes."""

import dataclasses
from types import SimpleNamespace

import pytest
from transformers import BertConfig, BertForSequenceClassification

from hfdistill import ClassificationTrainingArguments, make_student
from hfdistill.tasks.classification.sizes import (
    SHAPE,
    SIZES,
    settle_epochs,
    settle_size,
    size_defaults,
    size_within,
    teacher_training,
)


@pytest.mark.parametrize("name", SIZES)
def test_the_parameters_are_those_of_a_bert_of_that_shape(name):
    """The budget of a user is held against a number that nothing is built for."""
    size = SIZES[name]
    config = BertConfig(
        vocab_size=size.student_vocab_size,
        hidden_size=size.student_hidden_size,
        num_hidden_layers=size.student_num_hidden_layers,
        num_attention_heads=size.student_hidden_size // 32,
        intermediate_size=4 * size.student_hidden_size,
    )
    assert size.parameters == BertForSequenceClassification(config).num_parameters()


def test_the_largest_within_a_budget_is_taken():
    """One below a size's own count must be the next smaller one."""
    for name, smaller in zip(SIZES, [*SIZES][1:], strict=False):
        assert size_within(SIZES[name].parameters) == name
        assert size_within(SIZES[name].parameters - 1) == smaller
    assert size_within(max_latency_ms=1e6) == next(iter(SIZES))
    with pytest.raises(ValueError, match=r"the smallest, nano, has [\d,]+ parameters and takes about \d+\.\d ms"):
        size_within(max_latency_ms=1e-6)


def test_a_size_is_no_larger_than_the_teacher():
    """A teacher of one layer has no two to give; what a user asked for is left for make_student to refuse."""
    config = BertConfig(vocab_size=200, hidden_size=32, num_hidden_layers=4, num_attention_heads=2)
    options = SimpleNamespace(size="tiny", **size_defaults("tiny"))
    options.student_hidden_size = 512  # asked for
    args = SimpleNamespace(num_train_epochs=options.num_train_epochs)
    settle_size(options, config)
    settle_epochs(args, "tiny", texts=10_000)
    assert args.num_train_epochs == 20.0
    settle_epochs(args, "tiny", texts=10)
    assert args.num_train_epochs == 20.0  # as if given
    for texts, epochs in ((67_000, 3.0), (400_000, 2.0), (990_000, 1.0), (5_000_000, 1.0)):
        args.num_train_epochs = options.num_train_epochs
        settle_epochs(args, "tiny", texts)
        assert args.num_train_epochs == epochs
    assert [getattr(options, name) for name in SHAPE] == [2, 512, None]
    student = make_student(BertForSequenceClassification(config), num_hidden_layers=2)
    assert student.config.hidden_size == 32


def test_a_teacher_is_not_trained_as_a_tiny_student_is(tmp_path):
    """At ten times its learning rate it would forget what it knew; a rate that the user gave is for both, as ever."""
    given = {name: value for name, value in size_defaults("tiny").items() if not name.startswith("student_")}
    args = ClassificationTrainingArguments(str(tmp_path), **given)
    usual = ClassificationTrainingArguments(str(tmp_path))
    assert {name: getattr(usual, name) for name in given} == teacher_training("tiny", args)
    args = dataclasses.replace(args, learning_rate=3e-5)
    assert "learning_rate" not in teacher_training("tiny", args)
    assert teacher_training(None, args) == {}
