"""`hfdistill distill` with several teachers, with none, and with few labels."""

import json

import numpy as np
import pytest
import torch
from classification_runs import OWN, SIZE, assert_complete, results_of, save_model
from safetensors.torch import load_file
from script_runs import logged_losses
from texts import make_tokenizer
from transformers import AutoModelForSequenceClassification

from hfdistill.data.augmentation.augmenters import AUGMENTERS

FILES = ("--train_file", "train.csv", "--output_dir", "out")


@pytest.fixture
def second(home):
    """A second teacher: other weights and size, its labels in another order."""
    save_model(home / "second", make_tokenizer(), names=["good", "bad"], num_hidden_layers=1, hidden_size=8)
    return "second"


def test_several_teachers_are_one(home, distill, second):
    """The report's teacher must be the ensemble that taught, and the student learn from both."""
    printed = distill("--teacher_name_or_path", "teacher", second, *FILES, *SIZE)
    _, results = assert_complete(home / "out")
    sizes = [
        AutoModelForSequenceClassification.from_pretrained(home / name).num_parameters() for name in ("teacher", second)
    ]
    assert results["teacher_parameters"] == sum(sizes)
    assert "The teacher is an ensemble of 2, measured as one model." in printed
    assert "teacher, second" in (home / "out" / "README.md").read_text().replace("`", "")
    alone = load_file(home / "out" / "model.safetensors")
    distill("--teacher_name_or_path", "teacher", *FILES[:-1], "single", *SIZE)
    other = load_file(home / "single" / "model.safetensors")
    assert any(not torch.allclose(alone[name], other[name], atol=1e-5) for name in alone)


@pytest.mark.slow
def test_teachers_of_several_seeds_are_trained(home, distill):
    """Trained from one seed, ten teachers are one."""
    distill(*OWN, "--train_teacher", "--num_teachers", "2", *SIZE)
    first, second = (load_file(home / "out" / f"_teacher_{number}" / "model.safetensors") for number in (1, 2))
    assert not torch.allclose(first["bert.pooler.dense.weight"], second["bert.pooler.dense.weight"], atol=1e-4)
    model = AutoModelForSequenceClassification.from_pretrained(home / "out" / "_teacher_1")
    assert results_of(home / "out")["teacher_parameters"] == 2 * model.num_parameters()


def test_of_few_labels_the_rest_is_labeled_by_the_teacher(home, distill):
    """The baseline learns from the few alone, for as many steps; the card says how many labels there were."""
    printed = distill(*OWN, *SIZE, "--label_fraction", "0.2", "--labeled_share", "0.25", "--baseline")
    assert "25 % of the rows of a batch have a label, so alpha, which is not given, is 0.8: one label weighs" in printed
    card = (home / "out" / "README.md").read_text()
    assert "6 rows with labels, and 21 without, labeled by the teacher alone" in card
    states = [
        *(home / "out").glob("checkpoint-*/trainer_state.json"),
        home / "out" / "_baseline" / "trainer_state.json",
    ]
    steps = [json.loads(path.read_text())["global_step"] for path in states]
    assert steps[0] == steps[1] > 0
    assert logged_losses(home / "out") == {"loss", "label_loss", "soft_target_loss"}


def test_the_default_alpha_goes_by_the_share_of_labels(home, distill):
    """A mean over few labels that weighs half makes a student that hardly learns from its teacher."""
    few = (*OWN, *SIZE, "--label_fraction", "0.2", "--max_steps", "1")  # 6 of 27 texts
    sentence = (
        "22 % of the training rows have a label, so alpha, which is not given, is 0.818: one label weighs as much"
    )
    printed = distill(*few)
    assert sentence in printed
    card = (home / "out" / "README.md").read_text()
    assert sentence in card and "0.818" in card.partition(">Objective<")[2]
    assert "one label weighs" not in distill(*few, "--alpha", "0.5", "--output_dir", "half")


def test_more_text_is_made_and_reported(home, distill):
    """The teacher's predictions for the augmented texts are the gain; how often they change is reported."""
    printed = distill(*OWN, *SIZE, "--augment", "masking", "n_grams", "--augment_copies", "2")
    line = next(line for line in printed.splitlines() if "texts were made of" in line)
    made = int(line.split()[0])
    assert "texts were made of 27; the teacher decides" in line and 54 < made <= 108
    assert f"27 rows with labels, and {made} without" in (home / "out" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["mutual", "one"])
def test_students_without_a_teacher(home, distill, how):
    """No teacher is run; every student is a plain model; the table says whose columns these are."""
    printed = distill(*OWN, *SIZE, "--online", how, "--num_students", "3", "--baseline")
    assert_complete(home / "out", ("teacher", "student", "baseline"))
    assert "in its column is the second student" in printed
    weights = [load_file(home / "out" / name / "model.safetensors") for name in (".", "peer_2", "peer_3")]
    heads = [one["classifier.weight"].numpy() for one in weights]
    assert not np.allclose(heads[0], heads[1]) and not np.allclose(heads[1], heads[2])
    layer = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(weights[0][layer], weights[1][layer]) == (how == "one")
    [state] = (home / "out").glob("checkpoint-*/trainer_state.json")
    evaluations = [log for log in json.loads(state.read_text())["log_history"] if "eval_accuracy" in log]
    assert {f"eval_peer_{number}_accuracy" for number in (1, 2, 3)} <= set(evaluations[-1])
    assert "no teacher: students that taught one another" in (home / "out" / "README.md").read_text()


@pytest.mark.slow
def test_students_without_a_teacher_start_from_a_pretrained_model(home, distill):
    """It knows nothing of the labels, and no fine-tuned classifier is looked for on the Hub."""
    save_model(home / "pretrained", make_tokenizer(), names=["LABEL_0", "LABEL_1"])
    words = ("--student_name_or_path", "pretrained", "--train_file", "train.csv", "--output_dir", "out")
    distill(*words, "--online", "mutual")
    student, _ = assert_complete(home / "out")
    assert set(student.config.id2label.values()) == {"bad", "good"}


def test_what_it_cannot_do_is_refused(refusal):
    assert f"knows {', '.join(AUGMENTERS)}, not typos" in refusal(*OWN, "--augment", "typos")
    assert "with --train_teacher" in refusal(*OWN, "--num_teachers", "2")
    assert "--train_teacher does nothing with --online" in refusal(*OWN, "--online", "mutual", "--train_teacher")
    named = ("--online", "mutual", "--student_name_or_path", "teacher")
    assert "--teacher_name_or_path does nothing with --online" in refusal(*OWN, *named)
    assert "invalid choice: 'two'" in refusal(*OWN, "--online", "two")
    assert "--label_fraction must be a number in (0, 1]; got 3.0" in refusal(*OWN, "--label_fraction", "3")


def test_a_size_is_a_student_and_its_training(home, distill):
    """What is given wins, and nothing of the teacher is enlarged."""
    texts = "sentence\n" + "".join(
        f"a {word} film number {number}\n" for number in range(8) for word in ("good", "bad")
    )
    (home / "more.csv").write_text(texts)
    more = ("--unlabeled_file", "more.csv", "--unlabeled_fraction", "0.5", "--keep_by", "balance")
    more = (*more, "--augment", "masking")
    printed = distill(*OWN, "--size", "micro", "--student_num_hidden_layers", "1", "--max_steps", "2", *more)
    told = "Size micro: 1 layer of all hidden dimensions, all tokens; batch: 8, learning rate: 0.001, steps: 2."
    assert told in " ".join(printed.split())
    # What was made of texts that are not kept counts, too.
    made = int(next(line for line in printed.splitlines() if "texts were made of 43;" in line).split()[0])
    assert f"{27 + round((16 + made) / 2)} of {43 + made} texts are trained on (--keep_by balance)." in printed
    student = AutoModelForSequenceClassification.from_pretrained(home / "out")
    teacher = AutoModelForSequenceClassification.from_pretrained(home / "teacher")
    assert (student.config.num_hidden_layers, student.config.hidden_size) == (1, teacher.config.hidden_size)
