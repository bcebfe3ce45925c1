"""The recipe for raw text: a demo that is whole, bare teachers on streams in two processes, and a run that goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import TWO_RANKS
from script_runs import last_line, run_script
from tiny import WORDS, distance, make_tokenizer, weights
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
)

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


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """Options of a bare teacher in `bare`, with or without a mask token, and texts of unequal length."""
    monkeypatch.chdir(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    sizes |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 64}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained("bare")
    lines = [" ".join(WORDS[4 + (n + k) % 30] for k in range(3 + n * n % 90)) for n in range(300)]
    Path("texts.txt").write_text("\n".join(lines), encoding="utf-8")

    def words(mask=True):
        tokenizer = make_tokenizer()
        if mask:
            tokenizer.add_special_tokens({"mask_token": WORDS[-1]})
        tokenizer.save_pretrained("bare")
        return ["--teacher_name_or_path", "bare", "--train_file", "texts.txt", *TINY]

    return words


def results(folder):
    return json.loads((Path(folder) / "all_results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_two_processes_on_a_stream_train_the_student_of_one(bare, monkeypatch, capfd):
    """An untrained one of a config, of a bare teacher, in packed rows as long as it has positions for, and probed."""
    DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=24, dropout=0.0, attention_dropout=0.0).save_pretrained(
        "config"
    )
    labeled = [f"{' '.join(WORDS[4 + n % 9 + k] for k in range(6))},{n % 9 > 4}" for n in range(40)]
    Path("labeled.csv").write_text("\n".join(["text,kind", *labeled]), encoding="utf-8")
    words = [*bare(), "--streaming", "--pack", "--max_length", "500", "--optim", "sgd", "--learning_rate", "1"]
    words += ["--student_config", "config", "--probe_file", "labeled.csv", "--label_column", "kind"]
    run_script(RECIPE, [*words, "--per_device_train_batch_size", "16", "--output_dir", "one"], monkeypatch, capfd)
    command = [sys.executable, *TWO_RANKS, str(RECIPE), *words, "--output_dir", "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    one, two = (AutoModel.from_pretrained(folder) for folder in ("one", "two"))
    assert isinstance(one, DistilBertModel) and one.config.n_layers == 1
    assert distance(weights(one), weights(two)) < 1e-5
    name = "student_relation_correlation"
    assert results("one")[name] == pytest.approx(results("two")[name], abs=1e-4)
    assert results("one")[name] != results("one")["untrained_relation_correlation"]
    assert results("one")["student_probe_accuracy"] == results("two")["student_probe_accuracy"] > 0.5
    card = Path("one/README.md").read_text(encoding="utf-8")
    assert "probe accuracy" in card and "of labeled.csv" in card


@pytest.mark.slow
def test_a_teacher_without_a_mask_token_and_few_texts(bare, monkeypatch, capfd):
    words = [*bare(mask=False), "--output_dir", "out", "--terms", "minilm:1", "--student_hidden_size", "8"]
    with pytest.raises(SystemExit) as ended:
        run_script(RECIPE, [*words, "--mlm_probability", "0", "--student_config", "bare"], monkeypatch, capfd)
    assert "bare says how large the student is: leave out --student_num_hidden_layers and" in last_line(ended, capfd)
    for said in ("with --mlm_probability 0", "--baseline learns from masked tokens"):
        with pytest.raises(SystemExit) as ended:
            run_script(RECIPE, words, monkeypatch, capfd)
        assert said in last_line(ended, capfd)
        words += ["--mlm_probability", "0", *(["--baseline"] if "--baseline" not in words else [])]
    run_script(RECIPE, [word for word in words if word != "--baseline"], monkeypatch, capfd)
    assert -1 <= results("out")["student_relation_correlation"] <= 1
    assert "--baseline" not in Path("out/README.md").read_text(encoding="utf-8").split("## ")[0]
