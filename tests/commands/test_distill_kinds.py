"""Pairs of texts, scores and several labels at once, by the command and by the recipe: each from files to its card."""

import json

import numpy as np
import pytest
import torch
from classification_runs import RECIPE, results_of, save_model, with_basics, write_table
from safetensors.torch import load_file
from scipy.stats import pearsonr, spearmanr
from script_runs import run_script
from sklearn.metrics import f1_score
from texts import TEXTS, make_tokenizer
from transformers import AutoModelForSequenceClassification, pipeline

PAIR = ("sentence1", "sentence2")
LABELS = ("joy", "anger", "fear")
MANY = "multi_label_classification"


def label_of(kind, number):
    if kind == "pairs":
        return ["no", "yes"][number % 2]
    return round(0.37 * (number % 11), 2) if kind == "score" else [LABELS[n] for n in range(3) if number >> n & 1]


def write(path, kind, start=""):
    """Twenty rows; of several labels as JSON lines, one row without any, another without a list."""
    rows = [(start + text, text[::-1], label_of(kind, number)) for number, text in enumerate(TEXTS[:20])]
    if kind == "many":
        lines = [{"text": text, "labels": label} for text, _, label in rows] + [{"text": "no list", "labels": None}]
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    else:
        write_table(path, rows, columns=(*PAIR, "label"))
    return rows


@pytest.fixture
def files(home):
    """`files(kind)`: teacher, training and test file; the words that name them, and the test rows."""

    def make(kind):
        settings = {"many": {"names": LABELS, "problem_type": MANY}, "score": {"names": ["LABEL_0"]}}
        save_model(home / "teacher", make_tokenizer(), **settings.get(kind, {"names": ["no", "yes"]}))
        ending = "jsonl" if kind == "many" else "csv"
        write(home / f"rows.{ending}", kind)
        rows = write(home / f"held.{ending}", kind, "really ")
        words = ("--teacher_name_or_path", "teacher", "--student_num_hidden_layers", "1", "--baseline")
        # AdamW would make whole steps of what rounding leaves of a gradient of 0, such as that of a key's bias.
        words += ("--optim", "sgd", "--learning_rate", "0.05")
        return (*words, "--train_file", f"rows.{ending}", "--test_file", f"held.{ending}"), rows

    return make


def expected(kind, folder, rows):
    """The student's metrics, by a pipeline over the test rows and other libraries."""
    student = pipeline("text-classification", str(folder), top_k=None)
    pairs = [{"text": text, "text_pair": other} for text, other, _ in rows]
    found = student([text for text, *_ in rows]) if kind == "many" else [student(pair) for pair in pairs]
    if kind == "many":
        right = np.array([[float(name in label) for name in LABELS] for *_, label in rows])
        given = [{one["label"]: one["score"] for one in row} for row in found]
        held = np.array([[row[name] > 0.5 for name in LABELS] for row in given])
        scores = {f"f1_{how}": f1_score(right, held, average=how, zero_division=0) for how in ("micro", "macro")}
        return {"accuracy": (right == held).all(1).mean(), **scores}
    labels = [label for *_, label in rows]
    if kind == "pairs":
        return {"accuracy": np.mean([row[0]["label"] == label for row, label in zip(found, labels, strict=True)])}
    scores = np.array([row[0]["score"] for row in found])
    own = {"pearson": pearsonr(scores, labels).statistic, "spearmanr": spearmanr(scores, labels).statistic}
    return own | {"mse": np.mean((scores - labels) ** 2)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs", "score", "many"])
def test_from_files_to_the_card(home, files, distill, kind, monkeypatch, capfd):
    words, rows = files(kind)
    printed = distill(*words, "--output_dir", "out")
    assert "Student, card and report are in out/." in printed
    found, wanted = results_of(home / "out"), expected(kind, home / "out", rows)
    assert {f"student_{name}": found[f"student_{name}"] for name in wanted} == {
        f"student_{name}": pytest.approx(value, abs=1e-3) for name, value in wanted.items()
    }
    assert all(f"{role}_{name}" in found for role in ("teacher", "baseline") for name in wanted)
    config = AutoModelForSequenceClassification.from_pretrained(home / "out").config
    kinds = {"pairs": "single_label_classification", "score": "regression", "many": MANY}
    assert config.problem_type == kinds[kind] and ([*config.id2label.values()] == [*LABELS]) == (kind == "many")
    card = (home / "out" / "README.md").read_text(encoding="utf-8")
    assert ('"text_pair":' in card) == (kind != "many") and ("top_k=None" in card) == (kind == "many")
    assert ("squared error" in card) == (kind == "score")
    # Run in every step the teacher teaches the same, and so does the recipe.
    distill(*words, "--output_dir", "live", "--soft_targets", "false")
    run_script(RECIPE, with_basics([*words, "--output_dir", "recipe"]), monkeypatch, capfd)
    stored, live, by_recipe = (load_file(home / name / "model.safetensors") for name in ("out", "live", "recipe"))
    for name, weight in stored.items():
        assert torch.allclose(weight, live[name], atol=1e-5) and torch.equal(weight, by_recipe[name]), name


@pytest.mark.slow
def test_a_teacher_of_several_labels_is_fine_tuned_first(home, files, distill):
    """Its labels are those of the lists; the base had two classes."""
    words, _ = files("many")
    save_model(home / "base", make_tokenizer())
    distill(*words, "--teacher_name_or_path", "base", "--train_teacher", "true", "--output_dir", "out")
    config = AutoModelForSequenceClassification.from_pretrained(home / "out").config
    assert [*config.id2label.values()] == sorted(LABELS) and config.problem_type == MANY
