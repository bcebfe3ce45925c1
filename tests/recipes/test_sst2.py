"""The text-classification recipe, run as a user runs it: what it leaves behind, in one process and several."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from safetensors.torch import load_file
from sst2_runs import (  # noqa: F401  (fixtures)
    NAMES,
    OWN,
    RECIPE,
    ROWS,
    SIZE,
    assert_complete,
    home,
    recipe,
    refusal,
    results_of,
    save_model,
    train_loss_names,
    with_basics,
    write_table,
)
from texts import TEXTS, make_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BartConfig, BartForSequenceClassification

from hfdistill import make_student
from hfdistill.export.onnx import TOLERANCES

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
    assert "30 rows with labels, and 9 without, labeled by the teacher alone." in (home / "out/README.md").read_text()


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
    monkeypatch.setattr("hfdistill.models.hub.load_hub_dataset", lambda name, config=None: hub)
    recipe("--teacher_name_or_path", "unnamed", "--output_dir", "out")
    student, results = assert_complete(home / "out")
    assert results["compared_rows"] == 9 and student.config.id2label == dict(enumerate(NAMES))


def test_a_validation_file_is_read_beside_the_hubs_training_texts(home, recipe, monkeypatch):
    """The Hub's own was taken in its place, and nothing said."""
    rows = {"sentence": TEXTS, "label": [NAMES.index(label) for _, label in ROWS]}
    split = Dataset.from_dict(rows).cast_column("label", ClassLabel(names=NAMES))
    monkeypatch.setattr("hfdistill.models.hub.load_hub_dataset", lambda *_: DatasetDict(train=split, validation=split))
    write_table(home / "own.csv", ROWS[:7])
    recipe("--teacher_name_or_path", "teacher", "--validation_file", "own.csv", "--output_dir", "out")
    assert assert_complete(home / "out")[1]["compared_rows"] == 7


def test_a_teacher_of_many_labels_is_refused_for_texts_of_one(home, refusal):
    """Whole numbers for a loss over many labels at once ended in torch."""
    save_model(home / "many", make_tokenizer(), problem_type="multi_label_classification")
    line = refusal("--teacher_name_or_path", "many", *OWN[2:], *SIZE)
    assert (
        "many predictions for multi_label_classification (problem_type in its config.json) and the texts are for "
        in line
    )
    assert "single_label_classification" in line and "--train_teacher true" in line


@pytest.mark.slow
def test_a_teacher_that_does_not_repeat_its_number_of_labels(home, recipe):
    """BART's classifiers, such as bart-large-mnli, have it in their config alone."""
    sizes = {f"{side}_{name}": 1 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    tokens = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}
    config = BartConfig(vocab_size=120, d_model=16, max_position_embeddings=64, **sizes, **tokens, **labels)
    BartForSequenceClassification(config).save_pretrained(home / "bart")
    make_tokenizer().save_pretrained(home / "bart")
    recipe("--teacher_name_or_path", "bart", *OWN[2:], "--student_name_or_path", "teacher")
    assert_complete(home / "out", ("teacher", "student"))


def test_a_teacher_and_a_hub_dataset_of_different_numbers_of_labels(home, refusal, monkeypatch):
    """Two of three outputs would be trained, and the third be noise."""
    save_model(home / "unnamed", make_tokenizer(), names=["LABEL_0", "LABEL_1", "LABEL_2"])
    rows = Dataset.from_dict({"sentence": TEXTS, "label": [0, 1] * 15}).cast_column("label", ClassLabel(names=NAMES))
    monkeypatch.setattr("hfdistill.models.hub.load_hub_dataset", lambda name, config=None: DatasetDict(train=rows))
    line = refusal("--teacher_name_or_path", "unnamed", "--output_dir", "out")
    assert "unnamed predictions with 3 labels and the texts have 2" in line and "--train_teacher" in line


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


@pytest.mark.slow
def test_an_export_that_is_refused_costs_no_report(home, recipe, monkeypatch):
    """After hours of training nothing of it would be told."""
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    monkeypatch.setitem(TOLERANCES, "onnx", -1.0)
    write_table(home / "train.csv", [(text, {"bad": "$5-$10", "good": "<b>|`"}[label]) for text, label in ROWS])
    save_model(home / "teacher", make_tokenizer(), names=["$5-$10", "<b>|`"])
    recipe(*OWN, "--export", "onnx", "int8")
    _, results = assert_complete(home / "out")
    report = (home / "out/report/report.md").read_text(encoding="utf-8")
    assert "**Not made: the export.** the onnx export is broken" in report and "confusion.png" in report
    assert "Not made" in (home / "out/README.md").read_text(encoding="utf-8")
    assert "int8_accuracy" in results and "onnx_accuracy" not in results and "int8 against the student" in report


# ---- A run that is finished ----


def test_a_finished_run_goes_on_with_its_own_settings_alone(home, recipe):
    """It would train nothing, and its card would tell of settings that the student was not trained with."""
    words = [*OWN, *SIZE]
    recipe(*words)
    card = (home / "out" / "README.md").read_text(encoding="utf-8")
    save_model(home / "other", make_tokenizer(), initializer_range=0.3)
    others = {
        r"alpha \(0.5 there, 0.9 now\), ": ["--alpha", "0.9", "--learning_rate", "1e-2"],
        r"student num_hidden_layers \(1 there, 2 now\)": ["--student_num_hidden_layers", "2"],
        r"the teacher's logits": ["--teacher_name_or_path", "other"],
    }
    for told, changes in others.items():
        with pytest.raises(SystemExit, match=rf"^error: out/checkpoint-\d+ was made with other settings: .*{told}"):
            recipe(*words, *changes, "--resume_from_checkpoint", "true")
        assert (home / "out" / "README.md").read_text(encoding="utf-8") == card


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


@pytest.mark.slow
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
    """What the documentation promises to whoever has no network: a student that has learned, in minutes."""
    command = [str(Path(sys.executable).with_name("accelerate")), *ACCELERATE[1:], str(RECIPE)]
    environment = {**os.environ, "HF_HOME": str(home / "hf_home"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([*command, "--demo", "--output_dir", "out"], check=True, timeout=800, env=environment)
    _, results = assert_complete(home / "out", ("teacher", "student", "baseline"))
    assert results["student_accuracy"] > 0.7 and results["speedup"] > 1
