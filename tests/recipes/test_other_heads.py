"""Recipes of other heads than a text classifier's, whole: their demo, briefly, and the saved student."""

import json
from pathlib import Path

import pytest
from script_runs import run_script
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, pipeline

FOLDER = Path(__file__).parents[2] / "recipes"
BRIEF = ("--max_steps", "4", "--per_device_train_batch_size", "8", "--disable_tqdm", "true")


@pytest.mark.slow
def test_ner(tmp_path, monkeypatch, capfd, quick_report):
    run_script(FOLDER / "ner.py", ["--demo", "--output_dir", str(tmp_path / "out"), *BRIEF], monkeypatch, capfd)
    found = json.loads((tmp_path / "out" / "all_results.json").read_text())
    for role in ("teacher", "student", "baseline"):
        assert 0 <= found[f"{role}_f1"] <= 1
    report = (tmp_path / "out" / "report" / "report.md").read_text()
    assert "F1 by class" in report and "| entities |" in report
    assert "token-classification" in (tmp_path / "out" / "README.md").read_text()
    tagger = pipeline("ner", model=str(tmp_path / "out"), aggregation_strategy="simple")
    assert isinstance(tagger("we took the night train to new paris ."), list)


@pytest.mark.slow
def test_question_answering(tmp_path, monkeypatch, capfd, quick_report):
    out = tmp_path / "out"
    run_script(FOLDER / "question_answering.py", ["--demo", "--output_dir", str(out), *BRIEF], monkeypatch, capfd)
    found = json.loads((out / "all_results.json").read_text())
    for role in ("teacher", "student", "baseline"):
        assert 0 <= found[f"{role}_exact_match"] <= found[f"{role}_f1"] <= 1
    report = (out / "report" / "report.md").read_text()
    assert "| questions |" in report and "without one" in report
    student = AutoModelForQuestionAnswering.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    output = student(**tokenizer("where does anna live ?", "anna lives in paris .", return_tensors="pt"))
    assert output.start_logits.shape == output.end_logits.shape
