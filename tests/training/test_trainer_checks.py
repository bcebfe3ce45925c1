"""What the trainer refuses, and whose labels it takes for the same."""

import copy

import pytest
import torch
from accelerate import ParallelismConfig
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets
from tiny import distance, logs_of, make_args, make_model, make_rows, make_tokenizer, make_trainer, stored, weights
from transformers import TrainingArguments

from hfdistill import DistillationTrainer, ModelTeacher, Objective, soft_targets, trim_vocabulary
from hfdistill.losses import Labels
from hfdistill.models import labels

# ---- What is refused ----


@pytest.mark.parametrize("wrap", [lambda model: model, ModelTeacher], ids=["model", "ModelTeacher"])
def test_a_student_is_not_its_own_teacher(tmp_path, wrap):
    """Freezing the teacher would freeze the student, and a divergence from oneself is 0."""
    student = make_model(1)
    with pytest.raises(ValueError, match="the same object"):
        make_trainer(tmp_path, student, make_rows(), teacher=wrap(student))


def test_a_student_of_fewer_tokens_is_not_fed_its_teachers_ids(tmp_path):
    """They mean other tokens to it, or none; torch would end in an `IndexError`, on a GPU in worse."""
    texts = [f"w{number % 30} w{number % 7} w5" for number in range(40)]
    teacher, tokenizer = make_model(2), make_tokenizer()
    student, own = trim_vocabulary(teacher, tokenizer, texts[:5], 16)
    rows = Dataset.from_dict({"sentence": texts, "labels": [0, 1] * 20})
    theirs = rows.map(lambda row: tokenizer(row["sentence"]))
    given = {"args": make_args(tmp_path), "processing_class": own, "train_dataset": theirs}
    with pytest.raises(ValueError, match="row 12 of train_dataset has the token id 16.*student has.*0 to 15"):
        DistillationTrainer(student, **given)
    given["train_dataset"] = rows.map(lambda row: own(row["sentence"]))
    with pytest.raises(ValueError, match="40 entries and the student.s 16, they share token ids"):
        DistillationTrainer(student, teacher=teacher, **given)
    with pytest.raises(ValueError, match="'hidden_states' compares token by token"):
        reader = ModelTeacher(teacher, tokenizer, ["sentence"])
        DistillationTrainer(
            student, **{**given, "args": make_args(tmp_path, terms=["hidden_states:1"])}, teacher=reader
        ).train()
    with_teacher = DistillationTrainer(student, teacher=ModelTeacher(teacher, tokenizer, ["sentence"]), **given)
    with_teacher.train()
    assert logs_of(with_teacher, "soft_target_loss")


def test_processes_that_do_not_find_each_other_are_refused(tmp_path, monkeypatch):
    """Each would train a student of its own on all rows, and write it over the other's."""
    args = make_args(tmp_path)
    assert args.world_size == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started.*use_cpu=True"):
        DistillationTrainer(make_model(1), args, train_dataset=make_rows())


def test_compute_loss_func_is_refused(tmp_path):
    with pytest.raises(ValueError, match="compute_loss_func would be ignored.*objective"):
        make_trainer(tmp_path, make_model(1), make_rows(), given={"compute_loss_func": lambda *_: 0})


def test_data_parallel_is_refused(tmp_path):
    """Several GPUs in one process would count items of one of them."""
    args = make_args(tmp_path)
    args._n_gpu = 2
    with pytest.raises(ValueError, match="2 GPUs.*accelerate launch"):
        DistillationTrainer(model=make_model(1), args=args, train_dataset=make_rows())


@pytest.mark.parametrize("name", ["cp_size", "sp_size"])
@pytest.mark.parametrize("launched", [True, False])
def test_texts_cut_over_processes_are_refused(tmp_path, monkeypatch, name, launched):
    given = {} if launched else {"parallelism_config": ParallelismConfig(**{name: 2})}
    if launched:
        monkeypatch.setenv("ACCELERATE_USE_PARALLELISM_CONFIG", "true")
        monkeypatch.setenv(f"PARALLELISM_CONFIG_{name.upper()}", "2")
    with pytest.raises(ValueError, match=f"{name} above 1 cuts a text"):
        make_trainer(tmp_path, make_model(), make_rows(), **given)


def test_arguments_of_another_trainer_are_refused(tmp_path):
    """The first that they lack would be named, as an attribute, in place of what they are."""
    with pytest.raises(TypeError, match="must be DistillationTrainingArguments here, got TrainingArguments"):
        DistillationTrainer(make_model(1), TrainingArguments(str(tmp_path), report_to="none"))


def test_label_smoothing_beside_an_objective_is_refused(tmp_path):
    """The objective's own label term does not know of it, and would learn from hard labels."""
    given = {"objective": Objective({"labels": (1.0, Labels())})}
    with pytest.raises(ValueError, match=r"label_smoothing_factor would be ignored.*Labels\(label_smoothing=0.1\)"):
        make_trainer(tmp_path, make_model(1), make_rows(), given=given, label_smoothing_factor=0.1)
    given = {"objective": Objective({"labels": (1.0, Labels(label_smoothing=0.1))})}
    make_trainer(tmp_path, make_model(1), make_rows(), given=given, label_smoothing_factor=0.1)


@pytest.mark.parametrize("kind", ["numbers", "ClassLabel"])
def test_rows_without_a_label_say_so_by_a_number(tmp_path, kind):
    """Holes in the column, as of parts put together, end in a collator's complaint about nesting."""
    labeled = make_rows(4)
    labeled = labeled if kind == "numbers" else labeled.cast_column("labels", ClassLabel(names=["a", "b", "c"]))
    rows = concatenate_datasets([labeled, make_rows(4, seed=1).remove_columns("labels")])
    with pytest.raises(ValueError, match="row 4 and 3 more have no labels while others do: .* write -100, as in "):
        make_trainer(tmp_path, make_model(1), rows, teacher=make_model(2))
    # What the error says to do:
    rows = rows.map(lambda row: {"labels": -100 if row["labels"] is None else row["labels"]})
    make_trainer(tmp_path, make_model(1), rows, teacher=make_model(2), max_steps=1).train()


def test_values_set_after_the_arguments_were_checked_are_checked_again(tmp_path):
    """A search writes into the arguments: a negative temperature would turn the objective around."""
    student, rows, _, settings = stored()
    trainer = make_trainer(tmp_path, student, rows, **settings)
    trainer.args.temperature = -1.0
    with pytest.raises(ValueError, match="temperature must be .*got -1.0"):
        trainer.train()


# ---- Labels by name ----

ABC = {0: "cold", 1: "mild", 2: "hot"}
BCA = {0: "mild", 1: "hot", 2: "cold"}


def named(model, id2label):
    model.config.id2label = dict(id2label)
    model.config.label2id = {name: index for index, name in id2label.items()}
    return model


def test_a_teacher_whose_labels_are_in_another_order_teaches_the_same(tmp_path):
    """Class 0 of one is not class 0 of the other: compared by position, the student would learn nonsense."""
    rows, runs = make_rows(), []
    for order in (ABC, BCA):
        student, teacher = named(make_model(1), ABC), named(make_model(2), order)
        if order is BCA:
            with torch.no_grad():
                for parameter in (teacher.classifier.weight, teacher.classifier.bias):
                    parameter.copy_(parameter[[1, 2, 0]].clone())
        trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given={"eval_dataset": rows}, alpha=0.8)
        trainer.train()
        runs.append((weights(student), trainer.evaluate()["eval_agreement"]))
    assert distance(runs[0][0], runs[1][0]) < 1e-6
    assert runs[0][1] == runs[1][1]


def test_labels_of_other_names_are_refused(tmp_path):
    teacher = named(make_model(2), {0: "red", 1: "green", 2: "blue"})
    with pytest.raises(ValueError, match="red.*against.*cold"):
        make_trainer(tmp_path, named(make_model(1), ABC), make_rows(), teacher=teacher)


CAB = {0: "hot", 1: "cold", 2: "mild"}
WAY_OUT = "the student cold, mild, hot: bring them into the student's order with dataset.align_labels_with_mapping"


def in_order(rows, id2label, column="labels"):
    """The rows with their labels as classes of these names."""
    rows = rows if column == "labels" else rows.rename_column("labels", column)
    return rows.cast_column(column, ClassLabel(names=list(id2label.values())))


@pytest.mark.parametrize("column", ["label", "labels"])
def test_rows_that_number_their_labels_otherwise_are_refused(tmp_path, column):
    """Label 0 of the rows is not the student's: the labels would say the opposite of the teacher."""
    rows, student = in_order(make_rows(), BCA, column), named(make_model(1), ABC)
    teacher, plain = named(make_model(2), ABC), make_rows()
    with pytest.raises(ValueError, match=f"train_dataset numbers its labels mild, hot, cold and {WAY_OUT}"):
        make_trainer(tmp_path, student, rows, teacher=teacher)
    for split, where in [
        (rows, ""),
        (DatasetDict(one=plain, two=rows), r"\['two'\]"),
        (rows.to_iterable_dataset(), ""),
    ]:
        with pytest.raises(ValueError, match=f"eval_dataset{where} numbers its labels mild, hot, cold and {WAY_OUT}"):
            make_trainer(tmp_path, student, plain, teacher=teacher, given={"eval_dataset": split})
    for name, forward in [("train_dataset", DistillationTrainer.train), ("eval_dataset", DistillationTrainer.evaluate)]:
        replaced = make_trainer(tmp_path, student, plain, teacher=teacher)
        setattr(replaced, name, rows)
        with pytest.raises(ValueError, match=f"{name} numbers its labels mild, hot, cold and {WAY_OUT}"):
            forward(replaced)
    later = make_trainer(tmp_path, student, plain, teacher=teacher)
    with pytest.raises(ValueError, match=f"eval_dataset numbers its labels mild, hot, cold and {WAY_OUT}"):
        later.evaluate(rows)
    with pytest.raises(ValueError, match=f"test_dataset numbers its labels mild, hot, cold and {WAY_OUT}"):
        later.predict(rows)
    aligned = rows.align_labels_with_mapping(student.config.label2id, column)
    make_trainer(tmp_path, student, aligned, teacher=teacher, given={"eval_dataset": aligned})


def test_rows_of_other_labels_are_refused(tmp_path):
    rows = in_order(make_rows(), {0: "red", 1: "mild", 2: "cold"})
    with pytest.raises(ValueError, match="labels red, mild, cold and the student cold, mild, hot: where they mean the"):
        make_trainer(tmp_path, named(make_model(1), ABC), rows)
    renamed = rows.cast_column("labels", ClassLabel(names=["Cold", "MILD", "hot"]))
    make_trainer(tmp_path, named(make_model(1), ABC), renamed)


def test_rows_whose_labels_are_called_otherwise_altogether_are_taken_with_a_warning(tmp_path, monkeypatch):
    """Many datasets say neg and pos where the model says NEGATIVE and POSITIVE."""
    warnings = []
    monkeypatch.setattr(labels.logger, "warning", lambda text, *words: warnings.append(text % words))
    make_trainer(tmp_path, named(make_model(1), ABC), in_order(make_rows(), {0: "frost", 1: "fair", 2: "heat"}))
    assert warnings == [
        "train_dataset numbers its labels frost, fair, heat and the student cold, mild, hot: they are taken to mean "
        "the same in this order."
    ]


def test_a_student_without_names_takes_any_rows(tmp_path):
    """A model that was never told what its labels are called could be trained on no dataset of classes."""
    make_trainer(tmp_path, make_model(1), in_order(make_rows(), CAB))
    numbers = {0: "0", 1: "1", 2: "2"}  # as class_encode_column calls them
    make_trainer(tmp_path, named(make_model(1), ABC), in_order(make_rows(), numbers))


def with_labels_of(order, teacher):
    """A student that predicts as the teacher does, its labels in another order."""
    student = named(copy.deepcopy(teacher), order)
    positions = [list(teacher.config.id2label.values()).index(name) for name in order.values()]
    with torch.no_grad():
        for parameter in (student.classifier.weight, student.classifier.bias):
            parameter.copy_(parameter[positions].clone())
    return student


@pytest.mark.parametrize("when", ["no classes", "aligned before", "aligned after"])
@pytest.mark.parametrize("order", [ABC, CAB])
def test_stored_soft_targets_are_put_into_the_students_order(tmp_path, when, order):
    """No teacher is there to compare with: in the order of teacher or rows, the student learns other labels."""
    teacher, rows, tokenizer = named(make_model(2), ABC), make_rows(), make_tokenizer()
    student = with_labels_of(order, teacher)
    if when == "no classes":
        collected = soft_targets(teacher, rows, tokenizer)
    elif when == "aligned before":
        rows = in_order(rows, BCA).align_labels_with_mapping(student.config.label2id, "labels")
        collected = soft_targets(teacher, rows, tokenizer)
    else:
        collected = soft_targets(teacher, in_order(rows, BCA), tokenizer)
        collected = collected.align_labels_with_mapping(student.config.label2id, "labels")
    trainer = make_trainer(tmp_path, student, collected, given={"eval_dataset": collected}, alpha=1.0)
    figures = trainer.evaluate()
    assert figures["eval_agreement"] == 1.0
    assert figures["eval_soft_target_loss"] == pytest.approx(0, abs=1e-6)
    trainer.train()
    assert logs_of(trainer, "soft_target_loss")[0][0] == pytest.approx(0, abs=1e-6)
    later = make_trainer(tmp_path, with_labels_of(order, teacher), make_rows(), alpha=0.0)
    assert later.evaluate(collected)["eval_agreement"] == 1.0
    own = soft_targets(student, make_rows(), tokenizer).remove_columns("teacher_label")  # in the student's order
    assert later.evaluate(own)["eval_agreement"] == 1.0


def test_stored_soft_targets_of_other_labels_are_refused(tmp_path):
    """Emotions for temperatures, and no teacher to compare with."""
    collected = soft_targets(named(make_model(2), ABC), make_rows(), make_tokenizer())
    with pytest.raises(ValueError, match="cold, mild, hot against red, green, blue"):
        make_trainer(tmp_path, named(make_model(1), {0: "red", 1: "green", 2: "blue"}), collected)
    # Without the predictions their names say nothing.
    bare = collected.remove_columns("teacher_logits")
    make_trainer(tmp_path, named(make_model(1), {0: "red", 1: "green", 2: "blue"}), bare)


def test_soft_targets_of_which_some_have_names_are_refused(tmp_path):
    """Those without would be put into an order with those that have them."""
    named_ones = soft_targets(named(make_model(2), BCA), make_rows(), make_tokenizer())
    others = {"eval_dataset": named_ones.remove_columns("teacher_label")}
    with pytest.raises(ValueError, match="of some datasets name their labels.*make them all with soft_targets"):
        make_trainer(tmp_path, named(make_model(1), ABC), named_ones, given=others)


def test_soft_targets_in_two_orders_are_refused(tmp_path):
    """Only one of the two could be put into the student's order."""
    teacher = named(make_model(2), ABC)
    orders = [list(names.values()) for names in (ABC, BCA)]
    one, other = (soft_targets(teacher, make_rows(), make_tokenizer(), label_names=names) for names in orders)
    with pytest.raises(ValueError, match="in different orders of labels.*the same label_names"):
        make_trainer(tmp_path, named(make_model(1), ABC), one, given={"eval_dataset": {"a": one, "b": other}})
