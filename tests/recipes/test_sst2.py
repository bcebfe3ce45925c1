"""The text-classification recipe, run as a user runs it: what it leaves behind, what it says, what it refuses."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import TEXTS, make_tokenizer
from datasets import ClassLabel, Dataset, DatasetDict
from matplotlib.image import imread
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

from hfdistill import demo, make_student

RECIPE = Path(__file__).parents[2] / "recipes" / "sst2.py"
NAMES = ["bad", "good"]
ROWS = [(text, NAMES[len(text) % 2]) for text in TEXTS]
OWN = ("--teacher_name_or_path", "teacher", "--train_file", "train.csv", "--output_dir", "out")
SIZE = ("--student_num_hidden_layers", "1")
BASICS = (
    *("--num_train_epochs", "1", "--per_device_train_batch_size", "8", "--learning_rate", "1e-3"),
    *("--disable_tqdm", "true"),
)


def with_basics(words):
    """What is not asked for otherwise; a file of settings must be the first word."""
    return [*words, *BASICS] if words[0].startswith("settings") else [*BASICS, *words]


METRICS = ("accuracy", "f1", "matthews_correlation")


def write_table(path, rows, columns=("sentence", "label"), separator=","):
    lines = [separator.join(map(str, row)) for row in [columns, *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def save_model(folder, tokenizer, names=NAMES, **config):
    torch.manual_seed(1)
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    defaults = {"vocab_size": 120, "max_position_embeddings": 64, "initializer_range": 0.5, **sizes, **labels}
    BertForSequenceClassification(BertConfig(**{**defaults, **config})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a teacher and files, in which the user stands."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "teacher", make_tokenizer())
    write_table(tmp_path / "train.csv", ROWS)
    write_table(tmp_path / "test.tsv", [(f"really {text}", label) for text, label in ROWS[:11]], separator="\t")
    return tmp_path


@pytest.fixture
def recipe(home, monkeypatch, capfd):
    """`recipe(*words)`: runs it in this process; what it printed."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", [str(RECIPE), *with_basics(words)])
        monkeypatch.syspath_prepend(str(RECIPE.parent))  # as for a script
        capfd.readouterr()
        runpy.run_path(str(RECIPE), run_name="__main__")
        return capfd.readouterr().out

    return run


@pytest.fixture
def refusal(home, recipe, capfd):
    """`refusal(*words)`: the one line that it ends with, after it is seen to have left nothing behind."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            recipe(*words)
        printed = capfd.readouterr().err
        line = ended.value.code if isinstance(ended.value.code, str) else printed[printed.rindex("error: ") :].strip()
        assert "error: " in line and "Traceback" not in printed
        assert "\n" not in line or "the terms are" in line  # these are listed
        assert not [path for path in (home / "out").rglob("*") if path.is_file()]
        return line

    return run


def results_of(folder):
    return json.loads((folder / "all_results.json").read_text(encoding="utf-8"))


def assert_complete(folder, roles=("teacher", "student")):
    """All that a run promises to leave in its folder, whole and readable by plain transformers."""
    for name in ("model.safetensors", "config.json", "tokenizer.json", "README.md", "report/report.md"):
        assert (folder / name).stat().st_size > 0
    for name in re.findall(r"\]\((.+?\.png)\)", (folder / "report" / "report.md").read_text(encoding="utf-8")):
        assert imread(folder / "report" / name).size > 0
    results = results_of(folder)
    promised = {f"{role}_{name}" for role in roles for name in (*METRICS, "parameters")}
    assert promised | {"agreement", "speedup"} <= results.keys()
    assert ("baseline" in roles) == any(key.startswith("baseline") for key in results)
    student = AutoModelForSequenceClassification.from_pretrained(folder)
    assert student.num_parameters() == results["student_parameters"]
    assert set(load_file(folder / "model.safetensors")) == set(student.state_dict())  # a plain model, nothing beside
    assert AutoTokenizer.from_pretrained(folder)("is dull")["input_ids"]
    return student, results


def train_loss_names(folder):
    [state] = folder.glob("checkpoint-*/trainer_state.json")
    history = json.loads(state.read_text(encoding="utf-8"))["log_history"]
    return {name for entry in history if "loss" in entry for name in entry if name.endswith("loss")}


# ---- What it leaves behind ----


def test_own_teacher_and_files_with_a_baseline(home, recipe):
    """The usual run: everything promised is there, and the table at the end is the results file's."""
    printed = recipe(*OWN, "--test_file", "test.tsv", "--baseline", *SIZE)
    student, results = assert_complete(home / "out", ("teacher", "student", "baseline"))
    assert student.config.num_hidden_layers == 1 and student.config.id2label == dict(enumerate(NAMES))
    assert results["compared_rows"] == 11
    assert results["baseline_parameters"] == results["student_parameters"] < results["teacher_parameters"]
    table = printed.split("\n\n")[-2].splitlines()
    assert table[0].split() == ["11", "test", "rows", "teacher", "student", "baseline"]
    accuracies = [f"{results[f'{role}_accuracy']:.4f}" for role in ("teacher", "student", "baseline")]
    assert table[2].split() == ["accuracy", *accuracies]
    assert {"parameters", "size", "latency,"} <= {line.split()[0] for line in table}
    assert printed.strip().endswith("Student, card and report are in out/.")
    assert train_loss_names(home / "out") == {"loss", "label_loss", "soft_target_loss"}
    assert train_loss_names(home / "out" / "_baseline") == {"loss", "label_loss"}


def test_a_live_teacher_gives_the_same_student(home, recipe):
    """Soft targets that were kept and those that are asked for must teach the same, up to rounding."""
    sgd = ("--optim", "sgd", "--max_grad_norm", "0")  # Adam makes a difference of rounding one of steps
    recipe(*OWN, *sgd)
    recipe(*OWN[:-1], "live", "--soft_targets", "false", *sgd)
    kept, live = (load_file(home / name / "model.safetensors") for name in ("out", "live"))
    before = load_file(home / "teacher" / "model.safetensors")
    assert not torch.allclose(kept["classifier.weight"], before["classifier.weight"], atol=1e-4)
    for name, weights in kept.items():
        torch.testing.assert_close(live[name], weights, atol=1e-6, rtol=1e-5)


def test_terms_on_layers_ask_the_teacher_in_every_step(home, recipe):
    """Kept soft targets have no layers; the student beside it is trained on labels alone all the same."""
    recipe(*OWN, *SIZE, "--baseline", "--terms", "labels:0.5", "soft_targets:0.5", "hidden_states", "minilm")
    assert_complete(home / "out", ("teacher", "student", "baseline"))
    names = {"label_loss", "soft_target_loss", "hidden_states_loss", "minilm_loss"}
    assert train_loss_names(home / "out") == {"loss", *names}
    assert train_loss_names(home / "out" / "_baseline") == {"loss", "label_loss"}
    assert "papers/2012.15828" in (home / "out" / "README.md").read_text(encoding="utf-8")


def test_stages(home, recipe):
    recipe(*OWN, *SIZE, "--stages", "hidden_states minilm epochs=1 learning_rate=1e-2", "labels soft_targets epochs=2")
    assert_complete(home / "out")
    names = {"hidden_states_loss", "minilm_loss", "label_loss", "soft_target_loss"}
    assert train_loss_names(home / "out") == {"loss", *names}


def test_a_student_with_a_low_rank_embedding(home, recipe):
    """Most of a small student are its words."""
    recipe(*OWN, *SIZE, "--student_embedding_size", "4")
    student, results = assert_complete(home / "out")
    assert student.config.embedding_size == 4 and results["student_parameters"] < results["teacher_parameters"]


def test_a_narrower_student(home, recipe):
    printed = recipe(*OWN, *SIZE, "--student_hidden_size", "8", "--baseline")
    assert re.search(r"Before any training the student had accuracy [01]\.\d{4} on the validation texts", printed)
    student, _ = assert_complete(home / "out", ("teacher", "student", "baseline"))
    assert (student.config.hidden_size, student.config.num_hidden_layers, student.config.num_attention_heads) == (
        8,
        1,
        1,
    )


def test_layers_of_other_tokens_cannot_be_compared(home, refusal):
    save_model(home / "small", make_tokenizer(vocab_size=80), num_hidden_layers=1, vocab_size=80)
    line = refusal(*OWN, "--student_name_or_path", "small", "--terms", "labels", "hidden_states")
    assert "the term 'hidden_states' compares token by token, and the teacher reads the text with a tokenizer" in line


def test_the_teacher_is_trained_first(home, recipe):
    """A teacher that is fine-tuned after its soft targets were made would teach what it knew before."""
    save_model(home / "pretrained", make_tokenizer(), names=["a", "b", "c"])
    words = ["--teacher_name_or_path", "pretrained", "--train_teacher"]
    recipe(*words, "--train_file", "train.csv", "--output_dir", "out")
    student, results = assert_complete(home / "out")
    assert student.config.id2label == dict(enumerate(NAMES))
    teacher = AutoModelForSequenceClassification.from_pretrained(home / "out" / "_teacher")
    assert (
        teacher.config.id2label == dict(enumerate(NAMES)) and teacher.num_parameters() == results["teacher_parameters"]
    )
    assert train_loss_names(home / "out" / "_teacher") == {"loss", "label_loss"}


def test_a_student_with_a_tokenizer_of_its_own(home, recipe):
    """The teacher must read the words with its own vocabulary, and the student with another."""
    save_model(home / "small", make_tokenizer(vocab_size=80), num_hidden_layers=1, vocab_size=80)
    recipe(*OWN, "--student_name_or_path", "small")
    student, _ = assert_complete(home / "out")
    assert student.config.vocab_size == 80 == len(AutoTokenizer.from_pretrained(home / "out"))


def test_texts_without_labels_are_added(home, recipe):
    """The transfer set teaches by soft targets alone, and is counted as what it is."""
    (home / "more.jsonl").write_text("".join(json.dumps({"sentence": f"{text} again"}) + "\n" for text in TEXTS[:9]))
    write_table(home / "valid.csv", ROWS[:8])
    recipe(*OWN, "--validation_file", "valid.csv", "--unlabeled_file", "more.jsonl")
    assert_complete(home / "out")
    assert "30 rows with labels, and 9 without, labelled by the teacher alone." in (home / "out/README.md").read_text()


def test_a_regression_reports_the_student_that_it_saved(home, recipe):
    """Scores have no agreement, and a correlation tells weights apart that decide alike: those saved were measured."""
    write_table(home / "scores.csv", [(text, len(text) / 8) for text, _ in ROWS])
    save_model(home / "scorer", make_tokenizer(), names=["LABEL_0"], problem_type="regression")
    words = ("--teacher_name_or_path", "scorer", "--train_file", "scores.csv", "--test_file", "scores.csv")
    recipe(*words, "--output_dir", "out", *SIZE)
    results = results_of(home / "out")
    assert {"teacher_pearson", "student_spearmanr"} <= results.keys() and "agreement" not in results
    teacher = AutoModelForSequenceClassification.from_pretrained(home / "scorer")
    tokenizer = AutoTokenizer.from_pretrained(home / "out")

    def pearson(model):
        scores = [model(**tokenizer(text, return_tensors="pt")).logits.item() for text, _ in ROWS]
        return np.corrcoef(scores, [len(text) for text, _ in ROWS])[0, 1]

    saved = pearson(AutoModelForSequenceClassification.from_pretrained(home / "out"))
    assert results["teacher_pearson"] == pytest.approx(pearson(teacher), abs=1e-4)
    assert results["student_pearson"] == pytest.approx(saved, abs=1e-4)
    assert saved != pytest.approx(pearson(make_student(teacher, num_hidden_layers=1)), abs=1e-3)


def test_the_hubs_class_names_go_with_a_teacher_that_has_none(home, recipe, monkeypatch):
    """The default run: SST-2 names its classes, and many a fine-tuned teacher says LABEL_0 and LABEL_1."""
    save_model(home / "unnamed", make_tokenizer(), names=["LABEL_0", "LABEL_1"])
    rows = {"sentence": TEXTS, "label": [NAMES.index(label) for _, label in ROWS]}
    split = Dataset.from_dict(rows).cast_column("label", ClassLabel(names=NAMES))
    hub = DatasetDict(train=split, validation=split.select(range(9)))
    monkeypatch.setattr("hfdistill.data.load_hub_dataset", lambda name, config=None: hub)
    recipe("--teacher_name_or_path", "unnamed", "--output_dir", "out")
    _, results = assert_complete(home / "out")
    assert results["compared_rows"] == 9


def test_a_teacher_and_a_hub_dataset_of_different_numbers_of_labels(home, refusal, monkeypatch):
    """Two of three outputs would be trained, and the third be noise."""
    save_model(home / "unnamed", make_tokenizer(), names=["LABEL_0", "LABEL_1", "LABEL_2"])
    rows = Dataset.from_dict({"sentence": TEXTS, "label": [0, 1] * 15}).cast_column("label", ClassLabel(names=NAMES))
    monkeypatch.setattr("hfdistill.data.load_hub_dataset", lambda name, config=None: DatasetDict(train=rows))
    line = refusal("--teacher_name_or_path", "unnamed", "--output_dir", "out")
    assert "unnamed answers with 3 labels and the texts have 2" in line and "--train_teacher" in line


def test_texts_longer_than_the_models_positions(home, recipe):
    """`--max_length` says what the user wants; a model of 64 positions can only be given 64 tokens."""
    write_table(home / "long.csv", [(" ".join([text] * 20), label) for text, label in ROWS])
    recipe("--teacher_name_or_path", "teacher", "--train_file", "long.csv", "--output_dir", "out")
    assert_complete(home / "out")


@pytest.mark.slow
def test_a_search_and_an_export(home, recipe):
    """The student that the search chose is the one that is trained, exported, and compared with the defaults."""
    for package in ("optuna", "onnxscript"):
        pytest.importorskip(package, reason="the extras `search` and `export` are not installed")
    words = ("--search_trials", "2", "--search_trade_off", "--max_parameters", "50K", "--export", "onnx")
    printed = recipe(*OWN, "--test_file", "test.tsv", *words)
    student, results = assert_complete(home / "out", ("teacher", "student"))
    assert student.config.num_hidden_layers == 1 and (home / "out/onnx/model.onnx").stat().st_size > 0
    assert results["onnx_accuracy"] == results["student_accuracy"] and "defaults_accuracy" in results
    assert (home / "out/report/search_front.png").stat().st_size > 0
    assert "The best of 2 on the validation texts" in printed
    public = [path.relative_to(home / "out").parts[0] for path in (home / "out").rglob("*") if path.is_file()]
    private = {name for name in public if name.startswith(("_", "checkpoint-"))}
    assert private >= {"_search.log", "_defaults"} and not {"teacher", "baseline", "defaults"} & set(public)


# ---- How it is told what to do ----


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_settings_from_a_file(home, recipe, ending):
    """YAML reads 5e-3 as a text and "no" as a word; a number and false are meant."""
    settings = {"teacher_name_or_path": "teacher", "train_file": "train.csv", "output_dir": "out"}
    settings |= {"terms": ["labels:0.25", "soft_targets:0.5"], "weight_decay": "1e-3", "baseline": "no", "seed": 5}
    text = yaml.safe_dump(settings) if ending == "yaml" else json.dumps(settings)
    (home / f"settings.{ending}").write_text(text)
    recipe(f"settings.{ending}", "--seed", "7")
    assert_complete(home / "out")
    card = (home / "out" / "README.md").read_text(encoding="utf-8")
    assert "| labels | 0.25 |" in card and "| soft_targets | 0.5 |" in card
    assert "| weight_decay | 0.001 |" in card and "| seed | 7 |" in card  # the command line has the last word
    assert f"recipes/sst2.py settings.{ending} --seed 7" in card


def test_terms_from_the_command_line(home, recipe):
    """Weights in another order than the terms would train something else."""
    recipe(*OWN, "--terms", "labels:0.3", "soft_targets:0.7")
    card = (home / "out" / "README.md").read_text(encoding="utf-8")
    assert "| labels | 0.3 |" in card and "| soft_targets | 0.7 |" in card


def test_the_demo(home, recipe, monkeypatch):
    """The demo needs no options, no files and no network; what the user asks for beside it is done all the same."""
    whole = demo.demo_dataset
    monkeypatch.setattr(demo, "demo_dataset", lambda: whole(num_train=96, num_eval=24))
    printed = recipe("--demo", "--output_dir", "out", "--max_steps", "2", "--temperature", "9")
    _, results = assert_complete(home / "out", ("teacher", "student", "baseline"))
    assert results["compared_rows"] == 24 and demo.DEMO_NOTICE in printed
    for text in ("README.md", "report/report.md"):
        assert "generated" in (home / "out" / text).read_text(encoding="utf-8")
    assert "temperature = 9" in (home / "out" / "README.md").read_text(encoding="utf-8")


# ---- Processes ----


def launched(launcher, *words):
    """The recipe as a process of its own, begun by `accelerate launch` or the like."""
    command = [str(Path(sys.executable).with_name(launcher[0])), *launcher[1:], str(RECIPE), *with_basics(words)]
    environment = {**os.environ, "HF_HOME": str(Path("hf_home").absolute()), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


ACCELERATE = ("accelerate", "launch", "--num_processes", "1", "--cpu")


@pytest.mark.slow
def test_launched_by_accelerate(home):
    """The command of the documentation, in a process of its own."""
    process = launched(ACCELERATE, *OWN, *SIZE)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert_complete(home / "out")
    assert printed.strip().endswith("Student, card and report are in out/.") and "latency, one text" in printed


def test_a_refusal_of_a_process(home):
    """Exit code and error stream are what scripts look at."""
    (home / "train.csv").write_text("")
    done = subprocess.run([sys.executable, str(RECIPE), *OWN], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: train.csv is empty")


@pytest.mark.slow
def test_a_run_killed_twice_ends_with_the_same_student(home):
    """A run that resumes elsewhere in its data, or with another optimizer state, gives another student in silence."""
    words = [*OWN, "--baseline", "--num_train_epochs", "40"]
    whole = launched(ACCELERATE, *words, "--output_dir", "whole")
    printed, _ = whole.communicate(timeout=400)
    assert whole.returncode == 0, printed
    for folder, resume in (("out", "false"), ("out/_baseline", "true")):
        killed = launched(ACCELERATE, *words, "--resume_from_checkpoint", resume)
        while killed.poll() is None and not list((home / folder).glob("checkpoint-*/trainer_state.json")):
            time.sleep(0.05)
        assert killed.poll() is None, killed.communicate()
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        assert not list((home / folder).glob("checkpoint-160")), "it was killed too late to prove anything"
    assert not (home / "out" / "all_results.json").exists()
    resumed = launched(ACCELERATE, *words, "--resume_from_checkpoint", "true")
    printed, _ = resumed.communicate(timeout=400)
    assert resumed.returncode == 0, printed
    assert_complete(home / "out", ("teacher", "student", "baseline"))
    for folder in ("", "_baseline"):
        one, other = (load_file(home / name / folder / "model.safetensors") for name in ("whole", "out"))
        for name, weights in one.items():
            torch.testing.assert_close(other[name], weights, rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_leave_one_set_of_files(home):
    """Two processes that write the same files leave torn ones; two that compare print two tables."""
    process = launched(("torchrun", "--nproc_per_node", "2"), *OWN, "--test_file", "test.tsv", "--baseline", *SIZE)
    printed, _ = process.communicate(timeout=400)
    assert process.returncode == 0, printed
    _, results = assert_complete(home / "out", ("teacher", "student", "baseline"))
    assert results["compared_rows"] == 11
    assert "torchrun --nproc_per_node 2 recipes/sst2.py" in (home / "out" / "README.md").read_text(encoding="utf-8")
    assert printed.count("latency, one text") == printed.count("Student, card and report are in out/.") == 1


@pytest.mark.slow
def test_the_whole_demo(home):
    """What the documentation promises to whoever has no network: a student that has learnt, in minutes."""
    command = [str(Path(sys.executable).with_name("accelerate")), *ACCELERATE[1:], str(RECIPE)]
    environment = {**os.environ, "HF_HOME": str(home / "hf_home"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([*command, "--demo", "--output_dir", "out"], check=True, timeout=800, env=environment)
    _, results = assert_complete(home / "out", ("teacher", "student", "baseline"))
    assert results["student_accuracy"] > 0.7 and results["speedup"] > 1


# ---- What it refuses ----


def test_a_folder_that_holds_a_run(home, recipe, capfd):
    """A second run would overwrite the first one's student."""
    recipe(*OWN)
    before = {path: path.stat().st_mtime_ns for path in (home / "out").rglob("*")}
    with pytest.raises(
        SystemExit, match="^error: out already holds a finished run: choose another --output_dir"
    ) as ended:
        recipe(*OWN)
    assert "\n" not in str(ended.value)
    assert {path: path.stat().st_mtime_ns for path in (home / "out").rglob("*")} == before


BAD_FILES = {
    "unknown label": ("sentence,label\na joy,good\nis dull,god\n", r"Line 3 of bad\.csv.*'god'.*did you mean 'good'"),
    "missing column": ("sentence,mark\na joy,good\n", r"bad\.csv has no column 'label'.*'mark'"),
    "ragged line": ("sentence,label\na joy,good\nis dull\n", r"Line 3 of bad\.csv has 1 columns, expected 2"),
    "empty file": ("", r"bad\.csv is empty"),
    "no rows": ("sentence,label\n", r"bad\.csv has a header but no rows"),
    "another number of labels": (
        "sentence,label\na joy,1\nis dull,2\n",
        r"Line 3 of bad\.csv: label 2 is out of range",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_answered_with_one_line(home, refusal, case):
    """Fifty lines of traceback hide the one that says what to do."""
    content, sentence = BAD_FILES[case]
    (home / "bad.csv").write_text(content)
    assert re.search(sentence, refusal(*OWN, "--train_file", "bad.csv"))


BAD_OPTIONS = {
    "unknown option": (("--traim_file", "x"), r"unknown option --traim_file; did you mean --train_file\?"),
    "not a number": (("--temperature", "fast"), "invalid float value: 'fast'"),
    "out of range": (("--alpha", "1.5"), r"alpha must be in \[0, 1\].*got 1\.5"),
    "no such file": (("--test_file", "tset.tsv"), r"There is no file tset\.tsv"),
    "no such column": (("--text_column", "review"), r"train\.csv has no column 'review'.*check text_column"),
    "no such teacher": (("--teacher_name_or_path", "./nowhere"), r"There is no folder '\./nowhere'"),
    "too many layers": (("--student_num_hidden_layers", "9"), "9.*2"),
    "a budget of no search": (("--max_parameters", "5M"), "--max_parameters does nothing without --search_trials"),
    "no teacher": (("--num_teachers", "0"), "--num_teachers must be at least 1, got 0"),
    "no layer": (("--student_num_hidden_layers", "0"), "--student_num_hidden_layers must be at least 1, got 0"),
    "no copy": (("--augment", "n_grams", "--augment_copies", "0"), "--augment_copies must be at least 1, got 0"),
    "no token": (("--max_length", "0"), "--max_length must be at least 3, got 0"),
    "students of no peers": (("--num_students", "3"), "--num_students does nothing without --online"),
    "weights of one teacher": (("--learn_teacher_weights", "true"), "weighs several teachers, and there is one"),
    "two shapes": (("--student_name_or_path", "teacher", *SIZE), "--student_name_or_path has a shape of its own"),
    "unknown term": (
        ("--terms", "labels:0.3", "sof_targets:0.7"),
        r"'sof_targets' is unknown[^$]*\n  labels[^$]*\n  soft_targets",
    ),
    "no such format": (("--export", "onxx"), "no export format 'onxx'; the formats are onnx, int8"),
    "not a count": (("--search_trials", "1", "--max_parameters", "few"), "'few' should be a number, such as 5M"),
    "bad weight": (("--terms", "labels:much"), "'labels:much' should read labels:WEIGHT"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_a_bad_option_is_answered_with_one_line(refusal, case):
    """The same, for what is typed."""
    words, sentence = BAD_OPTIONS[case]
    assert re.search(sentence, refusal(*OWN, *words))


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_that_cannot_be_reached(refusal, monkeypatch, offline):
    """Whoever has no network is told of the two ways that need none; nothing is quietly replaced."""

    def no_network(*args, **kwargs):
        raise ConnectionError("no network here")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    for words in (("--teacher_name_or_path", "teacher"), OWN[2:], (*OWN, "--student_name_or_path", "some/small")):
        line = refusal(*words, "--output_dir", "out")
        assert "the Hugging Face Hub cannot be reached" in line and "--demo" in line and "--train_file" in line


def test_a_bug_keeps_its_traceback(recipe, monkeypatch):
    """One line would hide where it is."""
    monkeypatch.setattr("hfdistill.report.compare", lambda *args, **kwargs: torch.stack([]))
    with pytest.raises(RuntimeError):
        recipe(*OWN)
    monkeypatch.setattr("hfdistill.report.compare", lambda *args, **kwargs: np.concatenate([]))
    with pytest.raises(ValueError, match="need at least one array"):
        recipe(*OWN[:-1], "out2")
