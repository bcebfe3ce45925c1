"""What is saved is a plain student; what was interrupted goes on to the same end."""

import json
import subprocess
import sys

import pytest
import torch
from resuming import SCHEDULES, SETTINGS, assert_same_end, resumed_after_a_kill, resumed_from_steps
from safetensors import safe_open
from tiny import live, logits_of, make_model, make_rows, make_trainer, padded

LOAD_WITHOUT_HFDISTILL = """
import sys
sys.modules["hfdistill"] = None  # any import of it fails
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
folder, inputs, logits = sys.argv[1:]
AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
with torch.no_grad():
    torch.save(model(**torch.load(inputs)).logits, logits)
"""


@pytest.fixture
def trained(tmp_path):
    """A run with a live teacher that saved a checkpoint and the student."""
    student, rows, teacher, settings = live()
    trainer = make_trainer(tmp_path / "out", student, rows, teacher=teacher, **settings, save_strategy="epoch")
    trainer.train()
    trainer.save_model()
    return trainer, teacher, rows


def keys(file):
    with safe_open(file, "pt") as tensors:
        return set(tensors.keys())


@pytest.mark.slow
def test_the_saved_student_needs_no_hfdistill(tmp_path, trained):
    """A wrapper or a key too many in the folder, and a pipeline would load random weights for the rest."""
    trainer, _, rows = trained
    out = tmp_path / "out"
    torch.save(dict(padded(rows)), tmp_path / "inputs.pt")
    arguments = [str(out), str(tmp_path / "inputs.pt"), str(tmp_path / "logits.pt")]
    subprocess.run([sys.executable, "-c", LOAD_WITHOUT_HFDISTILL, *arguments], check=True, cwd=tmp_path)
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), logits_of(trainer.model, rows), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("trained")
def test_the_saved_folder_is_that_of_the_student_alone(tmp_path):
    """The teacher in the student's file would ship the weights that distillation is there to be rid of."""
    make_model(1).save_pretrained(tmp_path / "alone")
    alone = tmp_path / "alone" / "model.safetensors"
    for folder in (tmp_path / "out", *(tmp_path / "out").glob("checkpoint-*")):
        saved = folder / "model.safetensors"
        assert keys(saved) == keys(alone)
        assert saved.stat().st_size == alone.stat().st_size
        assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]


def test_no_checkpoint_holds_anything_of_the_teacher(tmp_path, trained):
    """Optimizer, state and arguments are pickled too: a teacher among them would be saved with every checkpoint."""
    trainer, teacher, _ = trained
    checkpoints = sorted((tmp_path / "out").glob("checkpoint-*"))
    assert len(checkpoints) == 2
    student_tensors = sum(1 for parameter in trainer.model.parameters() if parameter.requires_grad)
    for checkpoint in checkpoints:
        optimizer = torch.load(checkpoint / "optimizer.pt", weights_only=True)
        assert sum(len(group["params"]) for group in optimizer["param_groups"]) == student_tensors
        args = torch.load(checkpoint / "training_args.bin", weights_only=False)
        assert (args.alpha, args.temperature) == (trainer.args.alpha, trainer.args.temperature)
        marker = teacher.classifier.weight.numpy().tobytes()
        assert not [file.name for file in checkpoint.iterdir() if marker in file.read_bytes()]
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


# ---- Resuming ----


SCHEDULED = ("temperature", "soft_targets_weight")


def resumable(out, kind, given=None):
    """A run with everything that has a state: dropout, shuffling, Adam, schedules of rate, temperature and alpha."""
    teacher = make_model(2) if kind == "live" else None
    rows = make_rows(22, teacher_logits=kind == "stored")
    return make_trainer(out, make_model(1, dropout=0.3), rows, teacher=teacher, given=given, **SETTINGS, **SCHEDULES)


@pytest.mark.parametrize("kind", ["stored", "live"])
def test_a_resumed_run_ends_as_if_never_interrupted(tmp_path, kind):
    """Schedules that start again, or dropout drawn anew, give another student, and nobody notices."""
    for resumed, reference in resumed_from_steps(resumable, tmp_path, kind):
        assert_same_end(resumed, reference, *SCHEDULED)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stored", "live"])
def test_a_killed_process_resumes_to_the_same_end(tmp_path, kind):
    """SIGKILL leaves no time to tidy up: the last checkpoint must suffice."""
    assert_same_end(*resumed_after_a_kill(resumable, tmp_path, kind), *SCHEDULED)
