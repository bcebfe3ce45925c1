"""What the README and the results tell a newcomer to type: it runs, CI runs it too, and the files are there."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "recipes" / "benchmarks" / "results" / "README.md"


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(pattern):
    """The words of each command of the README and of the results that begins so."""
    code = blocks("bash") + blocks("bash", RESULTS.read_text(encoding="utf-8"))
    lines = [line for block in code for line in block.replace("\\\n", " ").splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [shlex.split(part) for part in parts if re.match(pattern, part)]


def test_the_python_runs_as_it_stands(tokenizer, tiny_bert, text_dataset, tmp_path, monkeypatch):
    """An example that was never run is the first thing that breaks, and the first that is copied."""
    monkeypatch.chdir(tmp_path)
    names = {"id2label": {0: "bad", 1: "fair", 2: "good"}, "label2id": {"bad": 0, "fair": 1, "good": 2}}
    teacher = tiny_bert(num_hidden_layers=6, **names)
    rows = text_dataset.map(lambda rows: tokenizer(rows["sentence"]), batched=True).train_test_split(10)
    world = {"teacher": teacher, "tokenizer": tokenizer, "train": rows["train"], "validation": rows["test"]}
    (code,) = blocks("python")
    exec(code, world)
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert student.config.num_hidden_layers == 3 and student.config.id2label == names["id2label"]


def test_its_commands_are_those_of_ci():
    """A newcomer's first two commands must be the ones that are run on every change."""
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    main, tests = (block.strip().split(" && ") for block in blocks("bash")[:2])
    assert main[0].endswith("-e . -c constraints.txt") and main[1] in run
    assert tests[0] in run and "make test" in tests[1] and "make test-all" in run


@pytest.mark.parametrize("document", [ROOT / "README.md", RESULTS], ids=["README", "results"])
def test_its_links_lead_somewhere(document):
    """A link to a file that was renamed greets the reader with nothing."""
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text(encoding="utf-8"))
    assert targets and not [target for target in targets if not (document.parent / target).exists()]


class Parsed(Exception):
    """The options were read; what comes next would begin a run."""


@pytest.mark.parametrize("words", commands("(accelerate launch|python) recipes"), ids=" ".join)
def test_the_options_of_its_commands_are_known(words, tmp_path, monkeypatch):
    """A flag that was renamed is refused only after the newcomer has waited for everything to install."""
    script = next(word for word in words if word.startswith("recipes/"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str((ROOT / script).parent))  # as for a script
    monkeypatch.setattr(sys, "argv", [script, *words[words.index(script) + 1 :]])
    spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, Path(script).stem, module)  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    if "benchmarks" in script:
        module.parse_options()
        return
    monkeypatch.setattr(module, "begin_run", stop)
    with pytest.raises(Parsed):
        module.main()


def stop(args):
    raise Parsed


@pytest.mark.parametrize("words", commands(r"hfdistill|accelerate launch -m hfdistill"), ids=" ".join)
def test_the_options_of_the_command_line_are_known(words):
    from hfdistill.commands import distill_options, finished, translate_options

    name, *rest = words[words.index("hfdistill") + 1 :]
    if name in ("distill", "search"):
        assert distill_options.read_options(rest)
    elif name == "translate":
        assert translate_options.read_options(rest)
    else:
        assert getattr(finished, f"{name.replace('-', '_')}_parser")().parse_args(rest)
