"""`recipes/llm_teacher.py`: with the demo's language model, and on texts without a single label."""

import json
from pathlib import Path

import numpy as np
import pytest
from classification_runs import ROWS, assert_complete, write_table
from datasets import Dataset
from script_runs import run_script
from texts import TEXTS
from tiny_prompts import make_bpe, make_causal

from hfdistill import PromptTeacher, demo_language_model, soft_targets
from hfdistill.tasks.classification import demo_language_model as module
from hfdistill.tasks.classification.demo import demo_dataset

RECIPE = Path(__file__).parents[2] / "recipes" / "llm_teacher.py"
TINY = ("--max_steps", "2", "--per_device_train_batch_size", "8", "--disable_tqdm", "true")


def test_texts_without_a_label_column_are_enough(home, monkeypatch, capfd):
    """The teacher's figures are those of its own soft targets, calibrated by texts that say nothing."""
    for part in (make_causal(), make_bpe()):
        part.save_pretrained(home / "lm")
    write_table(home / "texts.csv", [(f"once more {text}",) for text in TEXTS], columns=("sentence",))
    words = ["--teacher_name_or_path", "lm", "--template", "Review: {text}\\nSentiment:", "--verbalizer", "good", "bad"]
    words += ["--train_file", "texts.csv", "--validation_file", "train.csv", "--test_file", "test.tsv"]
    run_script(RECIPE, [*words, "--student_name_or_path", "teacher", "--output_dir", "out", *TINY], monkeypatch, capfd)
    results = json.loads((home / "out" / "all_results.json").read_text(encoding="utf-8"))
    assert "baseline_accuracy" not in results
    teacher = PromptTeacher(make_causal(), make_bpe(), "Review: {text}\nSentiment:", ["good", "bad"]).calibrate()
    test = [(f"really {text}", label) for text, label in ROWS[:11]]
    logits = soft_targets(teacher, Dataset.from_dict({"text": [text for text, _ in test]}))["teacher_logits"][:]
    right = np.argmax(logits, axis=1) == [["good", "bad"].index(label) for _, label in test]
    assert results["teacher_accuracy"] == pytest.approx(right.mean())


@pytest.mark.slow
def test_the_demo_leaves_a_student_its_report_and_its_card(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "SENTENCES", 640)
    printed = run_script(RECIPE, ["--demo", *TINY], monkeypatch, capfd)
    assert "Student, card and report are in demo-llm_teacher/." in printed
    assert_complete(tmp_path / "demo-llm_teacher", ("teacher", "student", "baseline"))
    assert "a small GPT-2 trained by this command" in (tmp_path / "demo-llm_teacher" / "README.md").read_text()


@pytest.mark.slow
def test_the_demos_language_model_follows_its_prompt(tmp_path):
    """Not by the order of two labels alone: it is far better than chance without any label."""
    model, tokenizer = demo_language_model(0)
    prompt = module.LANGUAGE_MODEL_DEMO["template"], module.LANGUAGE_MODEL_DEMO["verbalizer"]
    test = demo_dataset(num_train=1, num_eval=400)["validation"]
    kept = soft_targets(PromptTeacher(model, tokenizer, *prompt, "sentence"), test, store=tmp_path)
    assert (np.argmax(kept["teacher_logits"][:], axis=1) == np.array(test["label"][:])).mean() > 0.7
