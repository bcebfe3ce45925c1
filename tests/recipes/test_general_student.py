"""The recipe for raw text: a demo that is whole, a bare teacher on a stream of packed texts, and a run that goes on."""

import json
from pathlib import Path

import pytest
from script_runs import run_script
from tiny import WORDS, make_tokenizer
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, BertModel

RECIPE = Path(__file__).parents[2] / "recipes" / "general_student.py"
TINY = ("--max_steps", "4", "--per_device_train_batch_size", "8", "--disable_tqdm", "true")


@pytest.mark.slow
def test_the_demo_leaves_a_pretrained_encoder_its_probe_and_its_card(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    printed = run_script(RECIPE, ["--demo", *TINY, "--save_steps", "2"], monkeypatch, capfd)
    folder = tmp_path / "demo-general_student"
    assert "Student, card and report are in demo-general_student/." in printed and "tokens/s" in printed
    results = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
    assert all(0 <= results[f"{role}_accuracy"] <= 1 for role in ("teacher", "student", "baseline"))
    assert "recipes/general_student.py" in (folder / "README.md").read_text(encoding="utf-8")
    for auto in (AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification):
        assert auto.from_pretrained(folder).config.num_hidden_layers == 1
    words = ["--demo", *TINY, "--resume_from_checkpoint", "true"]
    assert "Student, card and report are in" in run_script(RECIPE, words, monkeypatch, capfd)


@pytest.mark.slow
def test_a_bare_teacher_on_a_stream_of_packed_texts(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, **sizes)).save_pretrained("bare")
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"mask_token": WORDS[-1]})
    tokenizer.save_pretrained("bare")
    lines = [" ".join(WORDS[4 + (n + k) % 30] for k in range(3 + n % 5)) for n in range(1100)]
    Path("texts.txt").write_text("\n".join(lines), encoding="utf-8")
    words = [
        "--teacher_name_or_path",
        "bare",
        "--train_file",
        "texts.txt",
        "--streaming",
        "--pack",
        "--max_length",
        "32",
    ]
    run_script(RECIPE, [*words, *TINY, "--output_dir", "out"], monkeypatch, capfd)
    results = json.loads(Path("out/all_results.json").read_text(encoding="utf-8"))
    assert -1 <= results["student_relation_correlation"] <= 1
    assert AutoModel.from_pretrained("out").config.num_hidden_layers == 1
