"""Several teachers at once: live and stored, of different sizes, vocabularies, label orders and languages."""

import numpy as np
import pytest
import torch
from tiny import distance, live, logits_of, make_model, make_rows, make_tokenizer, make_trainer, padded, weights
from transformers import DataCollatorWithPadding

from hfdistill import DistillationTrainer, EnsembleTeacher, ModelTeacher, soft_targets
from hfdistill.teachers import Combination, EnsembleModel, as_teacher
from hfdistill.teachers.columns import TeacherCollator, add_teacher_columns

ORDERS = (["bad", "fair", "good"], ["good", "bad", "fair"], ["Fair", "Good", "Bad"])


def named(model, names):
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: index for index, name in enumerate(names)}
    return model


def in_order(logits, names):
    """The logits by name, in the order bad, fair, good."""
    return logits[..., [[name.lower() for name in names].index(name) for name in ORDERS[0]]]


@pytest.fixture
def three_models():
    """Teachers of different sizes, each with its labels in another order."""
    sizes = ({"num_hidden_layers": 1}, {"hidden_size": 8}, {"intermediate_size": 40})
    return [
        named(make_model(2 + seed, **size), names) for seed, (size, names) in enumerate(zip(sizes, ORDERS, strict=True))
    ]


@pytest.fixture
def student():
    return named(make_model(1), ORDERS[0])


def mean_probabilities(models, rows, temperature=1.0):
    each = [in_order(logits_of(model, rows), names) for model, names in zip(models, ORDERS, strict=True)]
    return torch.stack([(logits.double() / temperature).softmax(-1) for logits in each]).mean(0)


def test_each_ones_labels_are_put_into_the_students_order(three_models, student):
    """Averaged position by position, "good" of one would be "bad" of another."""
    rows = make_rows()
    teacher = as_teacher(three_models)
    teacher.align(student.config)
    mixed = teacher(padded(rows)).logits.double().softmax(-1)
    torch.testing.assert_close(mixed, mean_probabilities(three_models, rows), atol=1e-6, rtol=1e-5)


def test_a_member_of_other_labels_is_refused(student):
    teacher = as_teacher([named(make_model(2), ORDERS[1]), named(make_model(3), ["joy", "anger", "fear"])])
    with pytest.raises(ValueError, match="joy, anger, fear against bad, fair, good"):
        teacher.align(student.config)


def test_no_member_is_trained_or_predicts_with_dropout(three_models):
    """One member left in training mode would make the whole target noisy."""
    three_models[1].train()
    teacher = as_teacher(three_models)
    assert not any(parameter.requires_grad for model in three_models for parameter in model.parameters())
    teacher(padded(make_rows()))
    assert not any(model.training for model in three_models)


def test_the_trainer_takes_a_list(tmp_path, three_models, student):
    """The logged soft-target loss is that of the mean distribution at the trainer's temperature."""
    rows = make_rows()
    q = (logits_of(student, rows).double() / 3).softmax(-1)
    p = mean_probabilities(three_models, rows, 3.0)
    settings = {"per_device_train_batch_size": 16, "num_train_epochs": 1, "temperature": 3.0, "alpha": 0.7}
    trainer = make_trainer(tmp_path, student, rows, teacher=three_models, **settings)
    trainer.train()
    log = next(log for log in trainer.state.log_history if "soft_target_loss" in log)
    assert log["soft_target_loss"] == pytest.approx(9 * (p * (p / q).log()).sum(-1).mean().item(), rel=1e-5)


def test_members_are_named_as_a_teacher_is(tmp_path, three_models, student):
    """Models, as in a list given to the trainer, would fail as objects without members."""
    three_models[2].save_pretrained(tmp_path / "third")
    teacher = EnsembleTeacher([three_models[0], ModelTeacher(three_models[1]), str(tmp_path / "third")])
    teacher.align(student.config)
    rows = make_rows()
    mixed = teacher(padded(rows)).logits.double().softmax(-1)
    torch.testing.assert_close(mixed, mean_probabilities(three_models, rows), atol=1e-6, rtol=1e-5)
    with pytest.raises(TypeError, match="teacher must be a model, a name or path, .* got int"):
        EnsembleTeacher([three_models[0], 3])


@pytest.mark.parametrize("method", ["probabilities", "logits", "confidence", "sample"])
def test_live_and_stored_teach_the_same(tmp_path, three_models, student, method):
    """Stored predictions are combined in the trainer, at its temperature and with its draws, as the live ones are."""
    rows = make_rows()
    collected = soft_targets(three_models, rows, make_tokenizer(), label_names=ORDERS[0])
    assert np.shape(collected["ensemble_logits"]) == (16, 3, 3)
    settings = {"temperature": 3.0, "teacher_combination": method, "teacher_weights": [1.0, 2.0, 1.0], "seed": 5}
    ends = []
    for teacher, data in [(three_models, rows), (None, collected)]:
        trainer = make_trainer(tmp_path, clone(student), data, teacher=teacher, **settings)
        trainer.train()
        ends.append(weights(trainer.model))
    assert distance(ends[0], weights(student)) > 0.01
    assert distance(*ends) < 1e-5


def clone(model):
    copy = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    return copy


@pytest.mark.parametrize("kind", ["live", "stored"])
def test_a_drawn_teacher_is_that_of_the_step(tmp_path, three_models, student, kind):
    """Cut into micro-batches, a step still has one teacher; resumed, a run has the same ones."""
    data = make_rows(24)
    if kind == "stored":
        data = soft_targets(three_models, data, make_tokenizer(), label_names=ORDERS[0])
    teacher = three_models if kind == "live" else None
    settings = {"teacher_combination": "sample", "alpha": 1.0, "num_train_epochs": 3}
    whole = make_trainer(
        tmp_path / "whole", clone(student), data, teacher=teacher, save_strategy="steps", save_steps=4, **settings
    )
    whole.train()
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    pieces = make_trainer(tmp_path / "pieces", clone(student), data, teacher=teacher, **settings, **cut)
    pieces.train()
    assert distance(weights(whole.model), weights(pieces.model)) < 1e-6
    resumed = make_trainer(tmp_path / "resumed", clone(student), data, teacher=teacher, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert distance(weights(whole.model), weights(resumed.model)) < 1e-7


def test_adding_a_teacher_costs_one_pass(tmp_path, three_models):
    """Each teacher's predictions are kept apart: with a third one the first two must not be run again."""
    rows, forwarded = make_rows(), []
    soft_targets(three_models[:2], rows, make_tokenizer(), store=tmp_path / "store")
    for number, model in enumerate(three_models):
        model.register_forward_hook(lambda *_, number=number: forwarded.append(number))
    collected = soft_targets(three_models, rows, make_tokenizer(), store=tmp_path / "store")
    assert set(forwarded) == {2}
    assert len(list((tmp_path / "store").iterdir())) == 3
    expected = torch.stack([in_order(logits_of(m, rows), n) for m, n in zip(three_models, ORDERS, strict=True)], 1)
    torch.testing.assert_close(torch.tensor(collected["ensemble_logits"][:]), expected, atol=1e-5, rtol=1e-5)


def test_one_kind_of_soft_targets_replaces_the_other(three_models):
    """Left beside each other, the old teacher's predictions would be the ones that are read."""
    rows = make_rows()
    one = soft_targets(three_models[0], rows, make_tokenizer())
    several = soft_targets(three_models, one, make_tokenizer())
    assert "teacher_logits" not in several.column_names
    assert "ensemble_logits" not in soft_targets(three_models[0], several, make_tokenizer()).column_names


def test_a_stream_gets_the_logits_of_each_teacher(three_models):
    rows = make_rows()
    expected = soft_targets(three_models, rows, make_tokenizer())["ensemble_logits"][:]
    streamed = soft_targets(three_models, rows.to_iterable_dataset(), make_tokenizer())
    np.testing.assert_allclose([row["ensemble_logits"] for row in streamed], expected, atol=1e-5)


# ---- Each with its own view of a row ----


@pytest.fixture
def bilingual(text_dataset, tokenizer):
    """Rows with the student's tokens of one language, and the text in two."""
    rows = text_dataset.rename_column("sentence", "en")
    rows = rows.add_column("de", [text[::-1] for text in rows["en"]])
    return rows.map(lambda row: tokenizer(row["de"]), batched=True)


@pytest.fixture
def readers(tiny_bert, tokenizer, other_tokenizer):
    """Three teachers: one reads English, one German with another vocabulary, one the student's tokens."""
    return [
        ModelTeacher(tiny_bert(seed=2), tokenizer, ["en"]),
        ModelTeacher(tiny_bert(seed=3, vocab_size=80), other_tokenizer, ["de"]),
        ModelTeacher(tiny_bert(seed=4), tokenizer),
    ]


def plain_logits(reader, texts):
    model = reader.model
    return torch.stack([model(**reader.processing_class(text, return_tensors="pt")).logits[0] for text in texts])


def test_each_member_reads_its_own_columns(readers, bilingual, tokenizer):
    """With one set of columns for all, the last one's tokens would be everybody's."""
    teacher = EnsembleTeacher(readers, Combination("logits"))
    rows = add_teacher_columns(bilingual, teacher).remove_columns(["en", "de", "label"])
    assert {"teacher_1_input_ids", "teacher_2_input_ids"} <= set(rows.column_names)
    assert "teacher_3_input_ids" not in rows.column_names
    batch = TeacherCollator(DataCollatorWithPadding(tokenizer), teacher)(list(rows.select(range(5))))
    english, german = bilingual["en"][:5], bilingual["de"][:5]
    expected = [plain_logits(one, text) for one, text in zip(readers, [english, german, german], strict=True)]
    torch.testing.assert_close(teacher(batch).logits, torch.stack(expected).mean(0), atol=1e-5, rtol=1e-5)


def test_different_views_teach_the_same_live_and_stored(readers, bilingual, tiny_bert, tokenizer, tmp_path):
    """Through the trainer: columns could be dropped as unused, or given to the student."""
    stored = soft_targets(readers, bilingual, batch_size=7)
    losses = []
    for teacher, rows in [(readers, bilingual), (None, stored)]:
        args = make_trainer(tmp_path, tiny_bert(), make_rows()).args
        trainer = DistillationTrainer(
            tiny_bert(seed=1), args, teacher=teacher, train_dataset=rows, processing_class=tokenizer
        )
        trainer.train()
        losses.append([log["soft_target_loss"] for log in trainer.state.log_history if "soft_target_loss" in log])
    np.testing.assert_allclose(*losses, atol=1e-5)


# ---- As one model ----


def test_an_ensemble_can_be_measured_as_one_model(three_models, student):
    """The report's column must be of what taught: the same labels, the same mean, the parameters of all."""
    rows = make_rows()
    model = EnsembleModel([student, *three_models]).eval()
    each = [logits_of(student, rows)]
    each += [in_order(logits_of(one, rows), names) for one, names in zip(three_models, ORDERS, strict=True)]
    expected = torch.stack([logits.softmax(-1) for logits in each]).mean(0)
    torch.testing.assert_close(model(**padded(rows)).logits.softmax(-1), expected)
    assert model.num_parameters() == sum(one.num_parameters() for one in [student, *three_models])
    assert model.config.id2label == student.config.id2label
    with pytest.raises(ValueError, match="3 labels and the student 2"):
        EnsembleModel([make_model(1, num_labels=2), make_model(2)])


# ---- What is refused ----


def test_what_cannot_be_an_ensemble_is_refused(three_models, student):
    """Each of these would fail in the middle of the first step, or teach nonsense."""
    with pytest.raises(ValueError, match="two teachers or more, got 1"):
        EnsembleTeacher([ModelTeacher(three_models[0])])
    with pytest.raises(ValueError, match="teacher_weights has 2 entries and there are 3 teachers"):
        EnsembleTeacher(three_models, Combination(weights=[1.0, 1.0]))
    multi = make_model(5, problem_type="multi_label_classification")
    single = make_model(6, problem_type="single_label_classification")
    with pytest.raises(ValueError, match="multi_label_classification, single_label_classification"):
        as_teacher([multi, single])
    with pytest.raises(ValueError, match="hidden_states of 3 teachers have no common shape"):
        as_teacher(three_models)(padded(make_rows()), frozenset({"hidden_states"}))
    with pytest.raises(ValueError, match="the same object"):
        make_trainer("unused", three_models[0], make_rows(), teacher=three_models)


def test_another_vocabulary_among_them_is_found(tmp_path):
    """One of ten teachers that reads the student's ids as other words spoils the mean, and nobody sees it."""
    student, rows, teacher, _ = live()
    with pytest.raises(ValueError, match="vocabulary has 30 entries and the student's 40"):
        make_trainer(tmp_path, student, rows, teacher=[teacher, make_model(7, vocab_size=30)])
