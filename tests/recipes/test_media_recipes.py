"""The recipes of what sees, hears and writes down speech, run on their generated sets."""

import json
from pathlib import Path

import pytest
from script_runs import run_script
from transformers import pipeline

FOLDER = Path(__file__).parents[2] / "recipes"
TINY = ("--demo", "--max_steps", "2", "--per_device_train_batch_size", "8", "--disable_tqdm", "true")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "words", "metric", "task"),
    [
        ("media", ("--kind", "pictures"), "accuracy", "image-classification"),
        ("media", ("--kind", "sounds"), "accuracy", "audio-classification"),
        ("speech", (), "wer", "automatic-speech-recognition"),
        # After two steps it writes nothing down as people do.
        ("whisper", ("--pseudo_transcripts", "false"), "wer", "automatic-speech-recognition"),
    ],
)
def test_the_demo_leaves_a_student_its_report_and_its_card(
    recipe, words, metric, task, tmp_path, monkeypatch, capfd, quick_report
):
    monkeypatch.chdir(tmp_path)
    printed = run_script(FOLDER / f"{recipe}.py", [*TINY, *words], monkeypatch, capfd)
    assert recipe != "whisper" or "--student_num_hidden_layers" not in printed  # which it does not have
    folder = tmp_path / f"demo-{recipe}"
    assert f"Student, card and report are in {folder.name}/." in printed
    results = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
    assert {f"{role}_{metric}" for role in ("teacher", "student", "baseline")} <= set(results)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"pipeline_tag: {task}" in card and f"recipes/{recipe}.py" in card
    assert (folder / "report" / "report.html").exists() and pipeline(task, str(folder))
