"""`hfdistill soft-targets`: of a language model, of an entailment model, and of predictions that the file has."""

import json

import numpy as np
import pytest
from datasets import Dataset
from tiny_prompts import TEMPLATE, VERBALIZER, make_bpe, make_causal, make_entailment, make_rows, make_wordpiece

from hfdistill import EntailmentTeacher, PromptTeacher, soft_targets
from hfdistill.commands.main import main

WORDS = ["bad=bad, very dull", "fair=very fair", "good"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a language model, an entailment model and a file, in which the user stands."""
    monkeypatch.chdir(tmp_path)
    for folder, parts in (("lm", (make_causal(), make_bpe())), ("nli", (make_entailment(), make_wordpiece()))):
        for part in parts:
            part.save_pretrained(tmp_path / folder)
    rows = [{"text": text, "a": "good", "b": name} for text, name in zip(make_rows(3)["text"], VERBALIZER, strict=True)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def made(*words):
    main(["soft-targets", *words])
    rows = Dataset.from_parquet("out.parquet")
    return rows.features["teacher_label"].names, np.array(rows["teacher_logits"][:])


@pytest.mark.parametrize("calibrate", [[], ["--calibrate"]])
def test_of_a_language_model(home, calibrate):
    template = TEMPLATE.replace("\n", "\\n")
    words = ["lm", "rows.jsonl", "out.parquet", "--template", template, "--verbalizer", *WORDS, *calibrate]
    names, logits = made(*words)
    teacher = PromptTeacher(make_causal(), make_bpe(), TEMPLATE, VERBALIZER)
    expected = soft_targets(teacher.calibrate() if calibrate else teacher, make_rows(3))["teacher_logits"][:]
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert names == list(VERBALIZER)


def test_of_an_entailment_model(home):
    asked = ["--hypothesis_template", "it was {} .", "--label_names", "bad", "good"]
    names, logits = made("nli", "rows.jsonl", "out.parquet", *asked)
    teacher = EntailmentTeacher(make_entailment(), make_wordpiece(), ["bad", "good"], hypothesis_template="it was {} .")
    expected = soft_targets(teacher, make_rows(3).remove_columns("label"))["teacher_logits"][:]
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert names == ["bad", "good"]


def test_of_votes(home):
    names, logits = made("rows.jsonl", "out.parquet", "--from", "votes", "--columns", "a", "b")
    assert names == ["bad", "fair", "good"] and logits.argmax(1)[2] == 2
    np.testing.assert_allclose(np.exp(logits[0]), [4 / 9, 1 / 9, 4 / 9], atol=1e-6)  # one vote more in all


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rows.jsonl", "out.parquet"], "name the TEACHER before FILE"),
        (
            ["lm", "rows.jsonl", "out.parquet", "--from", "votes", "--columns", "a"],
            "name the TEACHER before FILE",
        ),
        (["rows.jsonl", "out.parquet", "--from", "votes"], "--columns is missing, which 'votes' goes with"),
        (["lm", "rows.jsonl", "out.parquet", "--template", "{text}"], "--verbalizer is missing"),
        (["lm", "rows.jsonl", "out.parquet", "--verbalizer", "a"], "--verbalizer does nothing without --template or"),
        (["lm", "rows.jsonl", "out.parquet", "--calibrate"], "--calibrate does nothing without --template"),
        (["lm", "rows.jsonl", "out.parquet", "--label_names", "a"], "--label_names does nothing without --from or"),
        (["rows.jsonl", "out.parquet", "--from", "votes", "--columns", "c"], "rows.jsonl has no column 'c'"),
        (
            ["rows.jsonl", "out.parquet", "--from", "probabilities", "--columns", "a", "--label_names", "x", "y"],
            "Line 1 of rows.jsonl, column 'a': it holds 'good', and there are 2 labels",
        ),
        (
            ["lm", "rows.jsonl", "out.parquet", "--template", "{text}", "--verbalizer", "a=b", "a=c"],
            "the label 'a' is named twice",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(home, words, message):
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        main(["soft-targets", *words])
