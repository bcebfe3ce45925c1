"""Private methods of `Trainer` move from release to release: here the moved one is named, and not a symptom of it."""

import inspect
import re
from pathlib import Path

import pytest
import transformers
from transformers import Seq2SeqTrainer, Trainer

import hfdistill
from hfdistill import DistillationTrainer, OnlineTrainer, Seq2SeqDistillationTrainer
from hfdistill.training.private_overrides import ATTRIBUTES, CALLED, OVERRIDDEN, READ_IN

SOURCES = [path.read_text(encoding="utf-8") for path in Path(hfdistill.__file__).parent.rglob("*.py")]
EXPECTED = {**{name: parameters for name, (parameters, _) in OVERRIDDEN.items()}, **CALLED}


def own_classes():
    classes = {base for cls in (DistillationTrainer, Seq2SeqDistillationTrainer, OnlineTrainer) for base in cls.__mro__}
    return [cls for cls in classes if cls.__module__.startswith("hfdistill.")]


@pytest.mark.parametrize("name", EXPECTED)
def test_is_there_with_the_parameters_it_was_read_with(name):
    found = getattr(Trainer, name, getattr(Seq2SeqTrainer, name, None))
    assert found is not None, f"transformers {transformers.__version__} has no Trainer.{name}; it had in {READ_IN[-1]}"
    parameters = tuple(inspect.signature(found).parameters)[1:]
    assert parameters == EXPECTED[name], f"Trainer.{name} of transformers {transformers.__version__} takes {parameters}"


def test_every_override_of_a_private_method_is_in_the_table():
    private = {name for name in dir(Seq2SeqTrainer) if name.startswith("_") and not name.startswith("__")}
    assert {name for cls in own_classes() for name in vars(cls) if name in private} == set(OVERRIDDEN)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_is_an_attribute_on_both_sides(name):
    there = "".join(inspect.getsource(inspect.getmodule(cls)) for cls in (Trainer, Seq2SeqTrainer))
    pattern = rf"self\.{name}\b"
    assert re.search(pattern, there), f"transformers {transformers.__version__} has no Trainer.{name}"
    assert any(re.search(rf"{pattern}|\"{name}\"", source) for source in SOURCES)
