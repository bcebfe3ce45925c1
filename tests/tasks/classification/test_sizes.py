"""Ready sizes of students: what they cost, and that they are what a student becomes."""

import dataclasses
from types import SimpleNamespace

import pytest
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from hfdistill import ClassificationTrainingArguments, make_student
from hfdistill.tasks.classification.sizes import (
    SHAPE,
    SIZES,
    check_parameters,
    latency_ms,
    settle_epochs,
    settle_size,
    size_defaults,
    size_in_words,
    size_within,
    teacher_training,
)

SHAPED = {"vocab_size": 300, "hidden_size": 160, "num_hidden_layers": 4, "num_attention_heads": 5}
TEACHERS = {
    "of 512 positions": lambda: BertForSequenceClassification(BertConfig(**SHAPED, intermediate_size=640)),
    "of 4096 positions": lambda: BertForSequenceClassification(BertConfig(**SHAPED, max_position_embeddings=4096)),
    "of wide layers": lambda: BertForSequenceClassification(BertConfig(**SHAPED, intermediate_size=1600, num_labels=7)),
    "RoBERTa": lambda: RobertaForSequenceClassification(RobertaConfig(**SHAPED)),
    "DistilBERT": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=300, dim=160, n_layers=4, n_heads=5, hidden_dim=640)
    ),
    "ModernBERT": lambda: ModernBertForSequenceClassification(
        ModernBertConfig(**SHAPED, intermediate_size=320, pad_token_id=299, bos_token_id=1, eos_token_id=2)
    ),
}


@pytest.mark.parametrize("name", TEACHERS)
def test_a_budget_is_held_against_the_student_that_is_made(name):
    """Reckoned as BERT's of 512 positions, a student of another teacher was larger than what was allowed."""
    teacher = TEACHERS[name]()
    student = make_student(teacher, 2, hidden_size=128)
    reckoned = SIZES["micro"].student_of(teacher.config, {})
    assert reckoned.num_parameters() == student.num_parameters() and reckoned.device.type == "meta"
    assert size_within(teacher.config, student.num_parameters()) == "micro"
    assert size_within(teacher.config, student.num_parameters() - 1) == "nano"
    fewer = SIZES["micro"].student_of(teacher.config, {"student_vocab_size": 100})
    assert student.num_parameters() - fewer.num_parameters() == 200 * 128
    assert latency_ms(fewer) > 0


def test_what_is_given_of_the_shape_counts():
    """A wider student would have been over the budget by which its size was found, and nothing said so."""
    config = BertConfig()
    assert [round(size.student_of(config, {}).num_parameters() / 1e5) for size in SIZES.values()] == [114, 43, 14, 6]
    assert size_within(config, 4.5e6) == "tiny"
    assert size_within(config, 4.5e6, given={"student_num_hidden_layers": 4}) == "micro"
    with pytest.raises(
        ValueError,
        match=r"nano, with --student_hidden_size 384 has 6,583,682 parameters.*, or give a smaller shape with",
    ):
        size_within(config, 4.5e6, given={"student_hidden_size": 384})
    with pytest.raises(ValueError, match="the student has 6,583,682 parameters, and --max_parameters allows 4,500,000"):
        check_parameters(SIZES["nano"].student_of(config, {"student_hidden_size": 384}), 4.5e6)


def test_the_largest_within_a_latency_is_taken():
    config = BertConfig(vocab_size=300, hidden_size=64, num_attention_heads=2, num_hidden_layers=2)
    assert size_within(config, max_latency_ms=1e6) == next(iter(SIZES))
    with pytest.raises(ValueError, match=r"the smallest, nano, has [\d,]+ parameters and takes about \d+\.\d ms"):
        size_within(config, max_latency_ms=1e-6)


def test_steps_that_are_given_are_told_in_place_of_epochs(capsys):
    """It printed 250 epochs, and trained for ten steps."""
    options = SimpleNamespace(**size_defaults("tiny"), size="tiny", unlabeled_file="more.txt", augment=None)
    args = SimpleNamespace(**size_defaults("tiny"), max_steps=10)
    words = "Size tiny: 2 layers of 256 hidden dimensions, 10,000 tokens; batch: 128, learning rate: 0.0005, "
    assert size_in_words(options, args) == f"{words}steps: 10."
    settle_epochs(args, "tiny", texts=10_000)
    assert args.num_train_epochs == 0 and not capsys.readouterr().out
    args.max_steps = -1
    assert size_in_words(options, args) == f"{words}epochs: by the number of texts."


def test_a_size_is_no_larger_than_the_teacher():
    """A teacher of one layer has no two to give; what a user asked for is left for make_student to refuse."""
    config = BertConfig(vocab_size=200, hidden_size=32, num_hidden_layers=4, num_attention_heads=2)
    options = SimpleNamespace(size="tiny", **size_defaults("tiny"))
    options.student_hidden_size = 512  # asked for
    args = SimpleNamespace(num_train_epochs=options.num_train_epochs, max_steps=-1)
    settle_size(options, config)
    settle_epochs(args, "tiny", texts=10_000)
    assert args.num_train_epochs == 20.0
    settle_epochs(args, "tiny", texts=10)
    assert args.num_train_epochs == 20.0  # as if given
    for texts, epochs in ((67_000, 3.0), (800_000, 2.0), (990_000, 2.0), (5_000_000, 1.0)):
        args.num_train_epochs = options.num_train_epochs
        settle_epochs(args, "tiny", texts)
        assert args.num_train_epochs == epochs
    assert [getattr(options, name) for name in SHAPE] == [2, 512, None]
    student = make_student(BertForSequenceClassification(config), num_hidden_layers=2)
    assert student.config.hidden_size == 32
    shallow = SimpleNamespace(size="tiny", **size_defaults("tiny"))
    settle_size(shallow, BertConfig(vocab_size=200, hidden_size=32, num_hidden_layers=2, num_attention_heads=2))
    assert shallow.student_num_hidden_layers == 2  # without a number it would be half


def test_a_teacher_is_not_trained_as_a_tiny_student_is(tmp_path):
    """At ten times its learning rate it would forget what it knew; a rate that the user gave is for both, as ever."""
    given = {name: value for name, value in size_defaults("tiny").items() if not name.startswith("student_")}
    args = ClassificationTrainingArguments(str(tmp_path), **given)
    usual = ClassificationTrainingArguments(str(tmp_path))
    assert {name: getattr(usual, name) for name in given} == teacher_training("tiny", args)
    args = dataclasses.replace(args, learning_rate=3e-5)
    assert "learning_rate" not in teacher_training("tiny", args)
    assert teacher_training(None, args) == {}
