"""What the README tells a newcomer to type: it runs, and CI runs it too. Its commands are run in `tests/docs/`."""

import ast
import re
from pathlib import Path

import pytest
from texts import make_tokenizer
from transformers import AutoModelForSequenceClassification

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "recipes" / "benchmarks" / "results" / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_runs_as_it_stands(tiny_bert, tmp_path, monkeypatch, capsys):
    """An example that was never run is the first thing that breaks, and the first that is copied."""
    monkeypatch.chdir(tmp_path)
    teacher = tiny_bert(num_labels=2, num_hidden_layers=3, id2label={0: "negative", 1: "positive"})
    for part in (teacher, make_tokenizer()):
        part.save_pretrained("demo-distill/_teacher")
    (code,) = blocks("python")
    brief = code.replace("num_train_epochs=2", "max_steps=2").replace("logging_steps=100", "logging_steps=1")
    assert brief.count("steps=") == 2
    exec(brief, {})
    printed = capsys.readouterr().out
    student = AutoModelForSequenceClassification.from_pretrained("student")
    assert student.config.num_hidden_layers == 2 and student.config.id2label == {0: "negative", 1: "positive"}
    assert_printed_like(blocks("text")[0], printed)


def assert_printed_like(told, printed):
    """The README shows what is printed: the same names of losses, and the same rows and columns of the table."""
    [logged, *rows] = [line for line in told.splitlines() if line != "..."]
    lines = printed.splitlines()
    names = set(ast.literal_eval(logged.replace("..., ", "")))
    assert any(line.startswith("{") and names <= set(ast.literal_eval(line)) for line in lines)
    for row in rows:
        shape = re.escape(re.sub(r"\s+", " ", row)).replace(r"\ ", " ")
        shape = re.sub(r"(\\-){2,}", "-+", re.sub(r"[\d\\.,]*\d", r"[\\d.,]+", shape))
        assert any(re.fullmatch(shape, re.sub(r"\s+", " ", line)) for line in lines), row


def test_its_commands_are_those_of_ci():
    """A newcomer's first two commands must be the ones that are run on every change."""
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    main, tests = (block.strip().split(" && ") for block in blocks("bash")[:2])
    assert main[0].endswith("-e . -c constraints.txt") and main[1] in run
    assert tests[0] in run and "make test" in tests[1] and "make test-all" in run


@pytest.mark.parametrize("document", [ROOT / "README.md", ROOT / "recipes" / "README.md", RESULTS], ids=str)
def test_its_links_lead_somewhere(document):
    """A link to a file that was renamed greets the reader with nothing."""
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text(encoding="utf-8"))
    assert targets and not [target for target in targets if not (document.parent / target).exists()]


def test_it_is_read_in_a_few_minutes():
    assert len(README.split()) <= 900
