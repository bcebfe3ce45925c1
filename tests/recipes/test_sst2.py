"""The text-classification recipe, run as a user runs it: what it leaves behind, in one process and several."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from classification_runs import NAMES, OWN, RECIPE, ROWS, SIZE, assert_complete, save_model, with_basics, write_table
from datasets import ClassLabel, Dataset, DatasetDict
from safetensors.torch import load_file
from script_runs import logged_losses
from texts import TEXTS, make_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

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
    assert logged_losses(home / "out") == {"loss", "label_loss", "soft_target_loss"}
    assert logged_losses(home / "out" / "_baseline") == {"loss", "label_loss"}


def test_terms_on_layers_run_the_teacher_in_every_step(home, recipe):
    """Kept soft targets have no layers; the student beside it is trained on labels alone all the same."""
    recipe(*OWN, *SIZE, "--baseline", "--terms", "labels:0.5", "soft_targets:0.5", "hidden_states", "minilm")
    assert_complete(home / "out", ("teacher", "student", "baseline"))
    names = {"label_loss", "soft_target_loss", "hidden_states_loss", "minilm_loss"}
    assert logged_losses(home / "out") == {"loss", *names}
    assert logged_losses(home / "out" / "_baseline") == {"loss", "label_loss"}
    assert "papers/2012.15828" in (home / "out" / "README.md").read_text(encoding="utf-8")


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
    assert logged_losses(home / "out" / "_teacher") == {"loss", "label_loss"}


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


def test_the_hubs_class_names_go_with_a_teacher_that_has_none(home, recipe, monkeypatch):
    """The default run: SST-2 names its classes, and many a fine-tuned teacher says LABEL_0 and LABEL_1."""
    save_model(home / "unnamed", make_tokenizer(), names=["LABEL_0", "LABEL_1"])
    rows = {"sentence": TEXTS, "label": [NAMES.index(label) for _, label in ROWS]}
    split = Dataset.from_dict(rows).cast_column("label", ClassLabel(names=NAMES))
    hub = DatasetDict(train=split, validation=split.select(range(9)))
    monkeypatch.setattr("hfdistill.tasks.classification.sources.load_hub_dataset", lambda name, config=None: hub)
    recipe("--teacher_name_or_path", "unnamed", "--output_dir", "out")
    student, results = assert_complete(home / "out")
    assert results["compared_rows"] == 9 and student.config.id2label == dict(enumerate(NAMES))


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
    for message, changes in others.items():
        with pytest.raises(SystemExit, match=rf"^error: out/checkpoint-\d+ was made with other settings: .*{message}"):
            recipe(*words, *changes, "--resume_from_checkpoint", "true")
        assert (home / "out" / "README.md").read_text(encoding="utf-8") == card


ACCELERATE = ("accelerate", "launch", "--num_processes", "1", "--cpu")


def launched(launcher, *words):
    """The recipe as a process of its own, begun by `accelerate launch` or the like."""
    command = [str(Path(sys.executable).with_name(launcher[0])), *launcher[1:], str(RECIPE), *with_basics(words)]
    environment = {**os.environ, "HF_HOME": str(Path("hf_home").absolute()), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


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
