"""The measurements on many teachers and few labels, as a user runs them, on rows too few to mean anything."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread
from texts import TEXTS
from tiny_seq2seq import make_translator
from transformers import BertModel

from hfdistill.tasks.demo import bert_config, demo_tokenizer
from hfdistill.tasks.embedding.demo import demo_sentences
from hfdistill.tasks.translation.from_scratch import small_marian

BENCHMARKS = Path(__file__).parents[2] / "recipes" / "benchmarks"
QUICK = ("--epochs", "1", "--seeds", "2", "--student_num_hidden_layers", "1")


@pytest.fixture
def measure(tokenizer, tiny_bert, text_dataset, tmp_path):
    """`measure(script, *words)`: runs it; its table, its figures and what it printed."""
    names = {"id2label": {0: "bad", 1: "fair", 2: "good"}, "label2id": {"bad": 0, "fair": 1, "good": 2}}
    for part in (tiny_bert(**names), tokenizer):
        part.save_pretrained(tmp_path / "model")
    text_dataset.to_csv(tmp_path / "texts.csv")
    files = [word for kind in ("train", "validation", "test") for word in (f"--{kind}_file", tmp_path / "texts.csv")]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "ACCELERATE_USE_CPU": "true"}

    def run(script, *words, plots=1):
        out = tmp_path / script
        command = [sys.executable, BENCHMARKS / f"{script}.py", "--model", tmp_path / "model", *files]
        command += ["--output_dir", out, *QUICK, *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-4000:]
        figures = [json.loads(line) for line in (out / "figures.jsonl").read_text().splitlines()]
        assert [imread(plot).size > 0 for plot in out.glob("*.png")] == [True] * plots
        return (out / "table.md").read_text(), dict(figures), done.stdout

    return run


@pytest.mark.slow
def test_token_soft_targets(tmp_path):
    """Of few classes all of them are kept, and nothing is off but rounding; draws are off, and fewer bytes."""
    _, tokenizer = make_translator()
    teacher = small_marian(tokenizer, 1, 2, width=32, dropout=0.0, max_length=32)
    with torch.no_grad():
        for weight in teacher.parameters():  # so that its predictions differ from its student's
            weight.mul_(2)
    for part in (teacher, tokenizer):
        part.save_pretrained(tmp_path / "teacher")
    pairs = [json.dumps({"translation": {"en": text, "de": text[::-1]}}) for text in TEXTS]
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs))
    command = [sys.executable, BENCHMARKS / "token_soft_targets.py", "--teacher", tmp_path / "teacher"]
    command += ["--train_file", tmp_path / "pairs.jsonl", "--rows", "20", "--batch_sizes", "20"]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = {line[:14].split()[0] + line[:14].split()[1]: line for line in done.stdout.splitlines()[1:]}
    bytes_of = {name: float(line[14:].split()[0]) for name, line in lines.items()}
    error_of = {name: float(line.split("gradient")[1].strip(" %")) for name, line in lines.items()}
    assert bytes_of["sampledk=50"] < bytes_of["top_kk=50"] and error_of["sampledk=100"] < error_of["sampledk=12"]
    assert 0 < error_of["top_kk=50"] < error_of["top_kk=12"]


@pytest.mark.slow
def test_annotators(measure):
    """Four ways to combine teachers, and two kinds of labels alone; how often each is right stands beside it."""
    table, figures, _ = measure("annotators", "--steps", "2", "--annotator_epochs", "1", "--seeds", "1", plots=0)
    combined = ("mean of probabilities", "votes, counted", "votes, Dawid-Skene", "weights of 50 labels")
    students = {f"student {way} 0" for way in (*combined, "50 labels alone", "the teachers' labels alone")}
    assert set(figures) == students | {f"texts {way} 0" for way in combined} | {
        f"teacher {place} 0" for place in range(3)
    }
    assert all(0 <= figure <= 1 for figure in figures.values())
    assert f"| votes, Dawid-Skene | {100 * figures['texts votes, Dawid-Skene 0']:.2f} | " in table


@pytest.mark.slow
def test_review_by_a_judge(measure, tmp_path):
    """The shares of changed labels among the rows that each way brings, without a model that is trained."""
    judge = tmp_path / "model"
    table, figures, _ = measure(
        "review", "--judge", judge, "--layers", "1", "--tokens", "60", "--reviewed", "4", "--noise", "0.3",
        "--seeds", "1", plots=0,
    )  # fmt: skip
    qualities = ("self_confidence", "normalized_margin", "confidence_weighted_entropy", "random")
    assert set(figures) == {f"precision {quality} 0" for quality in qualities}
    assert all(4 * figure in range(5) for figure in figures.values())
    assert f"| random | {100 * figures['precision random 0']:.2f} |" in table


@pytest.mark.slow
def test_few_labels(measure):
    """Every method at every share, for each seed; what was measured is not measured again."""
    words = ("--fractions", "0.3", "1.0")
    table, figures, _ = measure("few_labels", *words)
    names = {name.rsplit(" ", 1)[0] for name in figures}
    methods = ("hard", "same texts", "all texts", "half and half", "practical", "teacher")
    assert names == {f"{method} 0.3" for method in methods} | {"hard 1.0", "all texts 1.0", "teacher 1.0"}
    assert "| 30 % | " in table and "| all, hard | " in table
    gains = [100 * (figures[f"all texts 0.3 {seed}"] - figures[f"hard 0.3 {seed}"]) for seed in (0, 1)]
    assert f" | {sum(gains) / 2:+.2f} ± {abs(gains[0] - gains[1]) / 2**0.5:.2f} | " in table
    again, _, printed = measure("few_labels", *words)
    assert again == table and "practical 0.3 0:" not in printed


@pytest.mark.slow
def test_ensemble(measure):
    table, figures, _ = measure("ensemble", "--num_teachers", "3")
    assert {f"teacher {number}" for number in range(3)} | {"ensemble 1", "ensemble 2", "ensemble 3"} <= set(figures)
    for line in ("a single teacher", "ensemble of 3", "student of the ensemble", "student of one teacher"):
        assert f"| {line} | " in table
    assert "| ensemble of 1 |" not in table and "Seed by seed it gains " in table


@pytest.mark.slow
def test_online(measure):
    table, figures, _ = measure("online")
    gains = [100 * (figures[f"mutual peer_1 {seed}"] - figures[f"alone {10 * seed}"]) for seed in (0, 1)]
    assert f" | {sum(gains) / 2:+.2f} ± " in next(row for row in table.splitlines() if "mutual, peer_1" in row)
    for line in ("alone, peer_1", "mutual, peer_2", "one, peer_2", "one, ensemble"):
        assert f"| {line} | " in table


@pytest.mark.slow
def test_translation_students(tmp_path):
    """Each method for each seed, by both searches, on either test set, running the teacher live or once."""
    methods = ("plain", "word", "sequence", "sequence, closest", "sequence, all texts", "word, sampled", "both, top_k")
    for part in make_translator():
        part.save_pretrained(tmp_path / "teacher")
    pairs = [json.dumps({"translation": {"en": text, "de": text[::-1]}}) for text in TEXTS]
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs))
    command = [sys.executable, BENCHMARKS / "translation_students.py", "--teacher", tmp_path / "teacher"]
    for language, step in (("en", 1), ("de", -1)):
        (tmp_path / f"corpus.{language}").write_text("\n".join(text[::step] for text in TEXTS))
    command += ["--train_file", tmp_path / "corpus.en", tmp_path / "corpus.de", "--pairs", str(len(TEXTS) // 2)]
    command += ["--test_file", tmp_path / "pairs.jsonl", "--output_dir", tmp_path / "out", "--epochs", "1"]
    (tmp_path / "others.jsonl").write_text("\n".join(pairs[:5]))
    command += ["--other_test_file", tmp_path / "others.jsonl"]
    command += ["--seeds", "2", "--num_beams", "2", "--max_length", "16", "--methods", *methods]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    printed = []
    for _ in range(2):  # the second time nothing is trained
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-4000:]
        printed.append(done.stdout)
    # For each seed three methods have the sources of the pairs translated, and one all but those to validate on.
    translated = re.findall(r"from (\d+) translated texts", printed[0])
    assert translated.count(str(len(TEXTS) // 2)) == 6 and len(translated) == 8
    assert max(map(int, translated)) > 0.8 * len(TEXTS) and "translated texts" not in printed[1]
    figures = dict(map(json.loads, (tmp_path / "out" / "figures.jsonl").read_text().splitlines()))
    measures = ("greedy", "beam", "greedy, elsewhere", "beam, elsewhere")
    students = {f"{how} {measure} {seed}" for how in methods for measure in measures for seed in (0, 1)}
    teacher = {f"teacher {measure}" for measure in measures}
    assert {name for name in figures if "source use" not in name} == students | teacher
    assert all(f"{how} source use {seed} 1" in figures for how in methods for seed in (0, 1))
    assert "word greedy 0:" not in done.stdout
    table = (tmp_path / "out" / "table.md").read_text()
    assert all(f"| {how} | " in table for how in ("the teacher", *methods))
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {2 * len(measures) + 2} and "greedy, elsewhere | gain" in rows[0]
    assert imread(tmp_path / "out" / "bleu.png").size > 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory from /proc, which Linux has")
def test_a_loss_over_58_101_words_takes_a_quarter_of_the_memory_and_no_more_time():
    """Those of OPUS-MT en-de, 8 sentences of 64 tokens: the same loss and gradients."""
    command = [sys.executable, BENCHMARKS / "large_vocabulary.py", "--rounds", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    *_, compared = done.stdout.splitlines()
    assert compared.startswith("parts / whole: ")
    memory, time, gap = (
        float(compared.split(name)[1].split()[0].rstrip(",;")) for name in ("peak_mib ", "cpu_seconds ", "differ by ")
    )
    assert 0 < memory < 0.25 and time < 1.1 and gap < 1e-5, compared


@pytest.mark.slow
def test_small_students(tokenizer, tiny_bert, text_dataset, tmp_path):
    """A run for each size, number of texts and seed; the baseline where it is asked for; none of them twice."""
    names = {"id2label": {0: "bad", 1: "fair", 2: "good"}, "label2id": {"bad": 0, "fair": 1, "good": 2}}
    for part in (tiny_bert(**names), tokenizer):
        part.save_pretrained(tmp_path / "teacher")
    text_dataset.to_csv(tmp_path / "texts.csv")
    (tmp_path / "more.csv").write_text("sentence\n" + "".join(f"a joy {number} times\n" for number in range(9)))
    command = [sys.executable, BENCHMARKS / "small_students.py", "--teacher", tmp_path / "teacher", "--seeds", "1"]
    for kind in ("train", "validation", "test"):
        command += [f"--{kind}_file", tmp_path / "texts.csv"]
    command += [
        "--unlabeled_file",
        tmp_path / "more.csv",
        "--unlabeled",
        "0",
        "6",
        "--baseline",
        "6",
        "--sizes",
        "micro",
    ]
    command += ["--output_dir", tmp_path / "out", "--max_steps", "2"]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "ACCELERATE_USE_CPU": "true"}
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-4000:]
    assert "Training the student" not in done.stdout
    rows = [line.split(" | ") for line in (tmp_path / "out" / "table.md").read_text().splitlines() if "| micro" in line]
    assert [row[2] for row in rows] == ["0", "6"] and [bool(row[3]) for row in rows] == [False, True]
    assert all(imread(tmp_path / "out" / f"{name}.png").size > 0 for name in ("curve", "costs"))


@pytest.fixture
def on_sentences(tmp_path):
    """`on_sentences(script, width, *words)`: runs it beside a tiny encoder in the folder of its output; its figures."""

    def run(script, width, *words):
        out = tmp_path / "out"
        tokenizer = demo_tokenizer(demo_sentences(num_train=50, num_eval=5)["train"]["text"])
        for part in (BertModel(bert_config(tokenizer, (3, width), ("meaning",)), add_pooling_layer=False), tokenizer):
            part.save_pretrained(out / "encoder")
        command = [sys.executable, BENCHMARKS / f"{script}.py", "--output_dir", out, "--seeds", "1", *words]
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-4000:]
        figures = dict(map(json.loads, (out / "figures.jsonl").read_text().splitlines()))
        return figures, (out / "table.md").read_text().count("\n| ")

    return run


@pytest.mark.slow
def test_heads(on_sentences):
    """Each kind of head learns with its teacher and without, from the encoder that is there."""
    figures, lines = on_sentences("heads", 64, "--rows", "16")
    kinds = ("pairs", "choices", "candidates", "score", "labels")
    assert {*figures} == {f"{kind}, {how} 0" for kind in kinds for how in ("teacher", "labels alone", "distilled")}
    assert lines == 5


@pytest.mark.slow
def test_language_models(on_sentences):
    figures, lines = on_sentences("language_models", 64, "--rows", "8", "--teacher_rows", "16", "--epochs", "1")
    assert {*figures} == {f"{how} 0" for how in ("teacher", "labels alone", "distilled")} and lines == 1


@pytest.mark.slow
def test_embeddings(on_sentences, tmp_path):
    """The teacher follows itself, and students of either width are measured before training and after it."""
    texts = demo_sentences(num_train=24, num_eval=5)["train"]["text"][:]
    rows = "".join(f"{text}\t{row % 2}\n" for row, text in enumerate(texts))
    (tmp_path / "texts.tsv").write_text(f"sentence\tlabel\n{rows}")
    files = [
        word for kind in ("train_file", "test_file", "more_files") for word in (f"--{kind}", tmp_path / "texts.tsv")
    ]
    figures, lines = on_sentences("embeddings", 128, "--model", tmp_path / "out" / "encoder", *files)
    assert figures["6 layers, teacher 0: spearman"] == pytest.approx(1.0) and lines == 5
    assert len(figures) == 10
