"""The recipe for sentence encoders: its demo whole, a run that goes on, and a student of another language."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from script_runs import run_script
from tiny import WORDS, make_tokenizer
from transformers import BertConfig, BertModel

from hfdistill import as_sentence_encoder, load_sentence_encoder
from hfdistill.models.pooling import Pooling

RECIPE = Path(__file__).parents[2] / "recipes" / "embeddings.py"
TINY = ("--max_steps", "4", "--per_device_train_batch_size", "8", "--disable_tqdm", "true")


def save_encoder(folder, seed=1, width=16, pooling=None):
    torch.manual_seed(seed)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "initializer_range": 0.4}
    config = BertConfig(vocab_size=len(WORDS), hidden_size=width, max_position_embeddings=64, **sizes)
    model = BertModel(config)
    if pooling:
        as_sentence_encoder(model, pooling.mode, pooling.normalize)
    for part in (model, make_tokenizer()):
        part.save_pretrained(folder)
    if pooling:
        pooling.write(folder, width, 32)
    return str(folder)


def sentences(folder, count=40):
    lines = [" ".join(WORDS[4 + (n + 3 * k) % 30] for k in range(3 + n % 4)) for n in range(count)]
    path = folder / "texts.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path), lines


def results_of(folder):
    return json.loads((Path(folder) / "all_results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_demo_leaves_a_sentence_encoder_its_report_and_its_card(tmp_path, monkeypatch, capfd):
    library = pytest.importorskip("sentence_transformers")
    monkeypatch.chdir(tmp_path)
    printed = run_script(RECIPE, ["--demo", *TINY, "--save_steps", "2"], monkeypatch, capfd)
    assert "Student, card and report are in demo-embeddings/." in printed
    results = results_of("demo-embeddings")
    assert all(-1 <= results[f"{role}_spearman"] <= 1 for role in ("teacher", "student", "untrained"))
    card = ModelCard.load(tmp_path / "demo-embeddings" / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    assert "SentenceTransformer('demo-embeddings')" in card.text
    theirs = library.SentenceTransformer("demo-embeddings", device="cpu").encode(["the cook sells a lamp"])
    assert theirs.shape == (1, 64) and np.linalg.norm(theirs) == pytest.approx(1, abs=1e-5)
    words = ["--demo", *TINY, "--resume_from_checkpoint", "true"]
    assert "Student, card and report are in" in run_script(RECIPE, words, monkeypatch, capfd)


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--terms", "soft_targets:1", "hidden_states:1"), ("--student_hidden_size", "8")])
def test_a_students_pairs_are_rated_by_its_teacher(tmp_path, monkeypatch, capfd, more):
    """Its pooling is the teacher's; terms on layers run the teacher in every step; another width learns relations."""
    monkeypatch.chdir(tmp_path)
    save_encoder(tmp_path / "teacher", pooling=Pooling("cls", normalize=True))
    words = ["--teacher_name_or_path", "teacher", "--train_file", sentences(tmp_path)[0], *TINY, *more]
    run_script(RECIPE, [*words, "--output_dir", "out"], monkeypatch, capfd)
    results = results_of("out")
    assert results["teacher_spearman"] == pytest.approx(1) and results["student_spearman"] < 1
    report = Path("out/report/report.md").read_text(encoding="utf-8")
    assert "the similarity is the teacher's own cosine" in report
    _, student = load_sentence_encoder("out")
    assert Pooling.read("out") == Pooling("cls", normalize=True) and student.config.num_hidden_layers == 1


@pytest.mark.slow
def test_a_student_that_learns_another_language(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    save_encoder(tmp_path / "teacher", pooling=Pooling("mean", normalize=True))
    save_encoder(tmp_path / "small", seed=2)
    _, lines = sentences(tmp_path)
    rows = [{"en": line, "de": " ".join(reversed(line.split()))} for line in lines]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    words = ["--teacher_name_or_path", "teacher", "--student_name_or_path", "small", "--train_file", "pairs.jsonl"]
    columns = ["--text_column", "en", "--translation_column", "de"]
    run_script(RECIPE, [*words, *columns, *TINY, "--output_dir", "out"], monkeypatch, capfd)
    assert {"student_accuracy", "student_mrr", "untrained_accuracy"} <= results_of("out").keys()
    assert Pooling.read("out") == Pooling("mean", normalize=True)
