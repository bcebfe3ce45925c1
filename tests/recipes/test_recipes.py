"""Every recipe: short enough to be read, made of public names alone, and run as a user runs it."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest
from classification_runs import OWN, assert_complete
from script_runs import run_script
from transformers import AutoConfig, AutoModelForSequenceClassification

import hfdistill

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("*.py"))
#: Other packages that a recipe may import.
PACKAGES = {"datasets", "transformers", "hfdistill"}

TINY = ("--max_steps", "2", "--per_device_train_batch_size", "8", "--disable_tqdm", "true")
#: What each compares its student with, beside the teacher.
BESIDE = {"few_labels": ("baseline",), "ensemble": ("one_teacher",), "layers": ("logits",), "mutual": ("baseline",)}
BESIDE |= {"search": ("defaults",), "deploy": ("onnx", "int8")}
#: `sst2.py`, `translation.py` and `llm_teacher.py` have suites of their own.
IDEAS = [FOLDER / f"{name}.py" for name in BESIDE]

each = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
each_idea = pytest.mark.parametrize("path", IDEAS, ids=lambda path: path.stem)


def imported(path):
    """Module and name of each import, `(module, None)` of a whole module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((one.name, None) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, one.name) for one in node.names)


@each
def test_a_recipe_fits_on_two_pages(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120


@each
def test_a_recipe_is_made_of_public_names_and_no_others(path):
    for module, name in imported(path):
        package = module.partition(".")[0]
        assert package in PACKAGES | set(sys.stdlib_module_names)
        if package == "hfdistill":
            assert (module, name in hfdistill.__all__) == ("hfdistill", True), (module, name)


@each
def test_a_recipe_describes_its_steps_and_its_command(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    steps = [int(number) for number in re.findall(r"^(\d)\. ", text, re.MULTILINE)]
    assert len(steps) >= 3 and steps == list(range(1, len(steps) + 1))
    assert f"recipes/{path.name} " in text


@each
def test_a_recipe_lists_its_options(path, monkeypatch, capfd):
    with pytest.raises(SystemExit) as ended:
        run_script(path, ["--help"], monkeypatch, capfd)
    printed = capfd.readouterr().out
    assert ended.value.code == 0 and all(option in printed for option in ("--demo", "--train_file", "--output_dir"))


def test_the_table_of_recipes_has_a_row_for_each():
    table = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| \[`(\w+\.py)`\]\(\1\)", table, re.MULTILINE)) == [path.name for path in RECIPES]


def assert_left(folder, path):
    """A plain model, the report and the card; with figures of the model that lacks the recipe's idea."""
    _, results = assert_complete(folder, ("teacher", "student", *({"baseline"} & {*BESIDE[path.stem]})))
    for role in BESIDE[path.stem]:
        assert 0 <= results[f"{role}_accuracy"] <= 1
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "## What was lost" in card and f"recipes/{path.name}" in card
    return results


@pytest.mark.slow
@each_idea
def test_the_demo_leaves_a_student_its_report_and_its_card(path, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    printed = run_script(path, TINY, monkeypatch, capfd)
    assert f"Student, card and report are in demo-{path.stem}/." in printed
    assert_left(tmp_path / f"demo-{path.stem}", path)


#: On files, with what only some of the options do.
ON_FILES = {
    "few_labels": ("--label_fraction", "0.5", "--labeled_share", "0.4"),
    "ensemble": ("--teacher_name_or_path", "teacher", "teacher", "--learn_teacher_weights"),
    "layers": ("--student_hidden_size", "8", "--terms", "labels", "soft_targets", "hidden_states"),
    "mutual": ("--num_students", "3"),
    "search": ("--search_trials", "1", "--max_parameters", "1M"),
    "deploy": ("--student_name_or_path", "teacher", "--formats", "int8"),
}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem == "few_labels" else pytest.mark.slow, id=path.stem) for path in IDEAS],
)
def test_a_recipe_runs_on_files(path, home, monkeypatch, capfd):
    words = [*OWN, "--test_file", "test.tsv", *TINY, *ON_FILES[path.stem]]
    run_script(path, words, monkeypatch, capfd)
    folder = home / "out"
    results = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
    assert results["teacher_accuracy"] >= 0 and (folder / "README.md").exists()
    config = AutoConfig.from_pretrained(folder)
    assert set(config.id2label.values()) == {"bad", "good"}
    if path.stem == "layers":
        assert (config.num_hidden_layers, config.hidden_size) == (2, 8)
    if path.stem == "mutual":
        peers = [AutoModelForSequenceClassification.from_pretrained(folder / f"peer_{n}") for n in (2, 3)]
        assert len(peers) == 2
    if path.stem == "deploy":
        assert (folder / "onnx" / "model_quantized.onnx").exists() and not (folder / "onnx" / "model.onnx").exists()
        assert results["agreement"] == 1  # the student is the teacher: nothing was trained


def test_a_recipe_of_other_labels_than_its_texts_ends_with_one_line(home, monkeypatch, capfd):
    (home / "train.csv").write_text("sentence,label\n" + "".join(f"text {n},{n % 3}\n" for n in range(30)))
    with pytest.raises(SystemExit) as ended:
        run_script(FOLDER / "few_labels.py", [*OWN, *TINY], monkeypatch, capfd)
    assert str(ended.value.code).startswith("error: ") and not (home / "out").exists()
