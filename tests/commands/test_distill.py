"""`hfdistill distill`, run as a user runs it: what it leaves behind, with one teacher and everything beside it."""

import re

import numpy as np
import pytest
import torch
from classification_runs import NAMES, OWN, ROWS, SIZE, assert_complete, results_of, save_model, write_table
from datasets import ClassLabel, Dataset, DatasetDict
from safetensors.torch import load_file
from script_runs import logged_losses
from texts import TEXTS, make_tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartConfig,
    BartForSequenceClassification,
    pipeline,
)

from hfdistill import make_student
from hfdistill.export.base import formats
from hfdistill.losses import TERMS

LOAD_HUB = "hfdistill.tasks.classification.sources.load_hub_dataset"


def test_a_live_teacher_gives_the_same_student(home, distill):
    """Precomputed soft targets and a live teacher must teach the same, up to rounding."""
    sgd = ("--optim", "sgd", "--max_grad_norm", "0")  # Adam makes a difference of rounding one of steps
    distill(*OWN, *sgd)
    distill(*OWN[:-1], "live", "--soft_targets", "false", *sgd)
    kept, live = (load_file(home / name / "model.safetensors") for name in ("out", "live"))
    before = load_file(home / "teacher" / "model.safetensors")
    assert not torch.allclose(kept["classifier.weight"], before["classifier.weight"], atol=1e-4)
    for name, weights in kept.items():
        torch.testing.assert_close(live[name], weights, atol=1e-6, rtol=1e-5)


def test_stages(home, distill):
    distill(*OWN, *SIZE, "--stages", "hidden_states minilm epochs=1 learning_rate=1e-2", "labels soft_targets epochs=2")
    assert_complete(home / "out")
    names = {"hidden_states_loss", "minilm_loss", "label_loss", "soft_target_loss"}
    assert logged_losses(home / "out") == {"loss", *names}


def test_a_student_with_a_low_rank_embedding(home, distill):
    distill(*OWN, *SIZE, "--student_embedding_size", "4")
    student, results = assert_complete(home / "out")
    assert student.config.embedding_size == 4 and results["student_parameters"] < results["teacher_parameters"]


def test_a_student_of_fewer_tokens(home, distill):
    """Its teacher reads with all tokens, so that it is measured as ever; report, card and export know of it."""
    words = (*OWN, *SIZE, "--test_file", "test.tsv", "--student_vocab_size", "70", "--baseline", "--export", "onnx")
    printed = distill(*words)
    student, results = assert_complete(home / "out", ("teacher", "student", "baseline", "onnx"))
    tokenizer = AutoTokenizer.from_pretrained(home / "out")
    assert student.config.vocab_size == len(tokenizer) == 70 and tokenizer("joy 今")["input_ids"][-2] == 1
    sentence = "The student's vocabulary is trimmed to 70 of 88 tokens"
    assert "It cuts 3 held-out texts into" in printed  # those of the validation
    for text in (printed, *((home / "out" / name).read_text("utf-8") for name in ("README.md", "report/report.md"))):
        assert sentence in text.replace("\\", "").replace("&#39;", "'")
    distill(*OWN[:-1], "whole", *SIZE, "--test_file", "test.tsv")
    assert results["teacher_accuracy"] == results_of(home / "whole")["teacher_accuracy"]
    decided = pipeline("text-classification", str(home / "out"))(TEXTS[0])[0]
    assert decided["label"] in NAMES
    # With the teacher run in every step it is the same student.
    sgd = ("--optim", "sgd", "--max_grad_norm", "0")
    for name, live in (("kept", "true"), ("live", "false")):
        distill(*OWN[:-1], name, *SIZE, "--student_vocab_size", "70", "--soft_targets", live, *sgd)
    kept, live = (load_file(home / name / "model.safetensors") for name in ("kept", "live"))
    assert all(torch.allclose(live[name], weights, atol=1e-6, rtol=1e-5) for name, weights in kept.items())


def test_fewer_tokens_are_refused_before_hours_of_work(refusal):
    """Layers would be compared token by token; and single characters are kept."""
    line = refusal(*OWN, "--train_teacher", "--student_vocab_size", "70", "--terms", "labels", "minilm")
    assert "the term minilm compares it with its teacher token by token" in line
    assert "Give a size (--student_vocab_size) from 47 to 87" in refusal(
        *OWN, "--train_teacher", "--student_vocab_size", "40"
    )


def test_terms_on_layers_of_whole_texts_go_with_fewer_tokens(home, distill):
    """Both read the text with tokens of their own."""
    names = sorted(name for name, term in TERMS.items() if term.reads_first_token)
    assert {"patient", "rkd_distance", "similarity", "exemplars"} <= {*names}
    distill(*OWN, *SIZE, "--student_vocab_size", "70", "--terms", "labels:1", *(f"{name}:1" for name in names))
    student, _ = assert_complete(home / "out")
    assert student.config.vocab_size == 70
    assert logged_losses(home / "out") == {"loss", "label_loss", *(f"{name}_loss" for name in names)}


def test_a_narrower_student(home, distill):
    printed = distill(*OWN, *SIZE, "--student_hidden_size", "8", "--baseline")
    assert re.search(r"Before any training the student had accuracy [01]\.\d{4} on the validation texts", printed)
    student, _ = assert_complete(home / "out", ("teacher", "student", "baseline"))
    assert (student.config.hidden_size, student.config.num_hidden_layers, student.config.num_attention_heads) == (
        8,
        1,
        1,
    )


def test_layers_of_other_tokens_cannot_be_compared(home, refusal):
    save_model(home / "small", make_tokenizer(vocab_size=80), num_hidden_layers=1, vocab_size=80)
    line = refusal(*OWN, "--student_name_or_path", "small", "--terms", "labels", "hidden_states")
    assert "the term 'hidden_states' compares token by token, and the teacher reads the text with a tokenizer" in line


def test_a_regression_reports_the_student_that_it_saved(home, distill):
    """Scores have no agreement, and a correlation tells weights apart that decide alike: those saved were measured."""
    write_table(home / "scores.csv", [(text, len(text) / 8) for text, _ in ROWS])
    save_model(home / "scorer", make_tokenizer(), names=["LABEL_0"], problem_type="regression")
    words = ("--teacher_name_or_path", "scorer", "--train_file", "scores.csv", "--test_file", "scores.csv")
    distill(*words, "--output_dir", "out", *SIZE)
    results = results_of(home / "out")
    assert {"teacher_pearson", "student_spearmanr"} <= results.keys() and "agreement" not in results
    teacher = AutoModelForSequenceClassification.from_pretrained(home / "scorer")
    tokenizer = AutoTokenizer.from_pretrained(home / "out")

    def pearson(model):
        scores = [model(**tokenizer(text, return_tensors="pt")).logits.item() for text, _ in ROWS]
        return np.corrcoef(scores, [len(text) for text, _ in ROWS])[0, 1]

    saved = pearson(AutoModelForSequenceClassification.from_pretrained(home / "out"))
    assert results["teacher_pearson"] == pytest.approx(pearson(teacher), abs=1e-4)
    assert results["student_pearson"] == pytest.approx(saved, abs=1e-4)
    assert saved != pytest.approx(pearson(make_student(teacher, num_hidden_layers=1)), abs=1e-3)


def test_a_validation_file_is_read_beside_the_hubs_training_texts(home, distill, monkeypatch):
    """The Hub's own was taken in its place, and nothing said."""
    rows = {"sentence": TEXTS, "label": [NAMES.index(label) for _, label in ROWS]}
    split = Dataset.from_dict(rows).cast_column("label", ClassLabel(names=NAMES))
    monkeypatch.setattr(LOAD_HUB, lambda *_: DatasetDict(train=split, validation=split))
    write_table(home / "own.csv", ROWS[:7])
    distill("--teacher_name_or_path", "teacher", "--validation_file", "own.csv", "--output_dir", "out")
    assert assert_complete(home / "out")[1]["compared_rows"] == 7


@pytest.mark.slow
def test_a_teacher_that_does_not_repeat_its_number_of_labels(home, distill):
    """BART's classifiers, such as bart-large-mnli, have it in their config alone."""
    sizes = {f"{side}_{name}": 1 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    tokens = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}
    config = BartConfig(vocab_size=120, d_model=16, max_position_embeddings=64, **sizes, **tokens, **labels)
    BartForSequenceClassification(config).save_pretrained(home / "bart")
    make_tokenizer().save_pretrained(home / "bart")
    distill("--teacher_name_or_path", "bart", *OWN[2:], "--student_name_or_path", "teacher")
    assert_complete(home / "out", ("teacher", "student"))


def test_a_teacher_and_a_hub_dataset_of_different_numbers_of_labels(home, refusal, monkeypatch):
    """Two of three outputs would be trained, and the third be noise."""
    save_model(home / "unnamed", make_tokenizer(), names=["LABEL_0", "LABEL_1", "LABEL_2"])
    rows = Dataset.from_dict({"sentence": TEXTS, "label": [0, 1] * 15}).cast_column("label", ClassLabel(names=NAMES))
    monkeypatch.setattr(LOAD_HUB, lambda name, config=None: DatasetDict(train=rows))
    line = refusal("--teacher_name_or_path", "unnamed", "--output_dir", "out")
    assert "unnamed predicts 3 labels and the texts have 2" in line and "--train_teacher" in line


def test_texts_longer_than_the_models_positions(home, distill):
    """`--max_length` says what the user wants; a model of 64 positions can only be given 64 tokens."""
    write_table(home / "long.csv", [(" ".join([text] * 20), label) for text, label in ROWS])
    distill("--teacher_name_or_path", "teacher", "--train_file", "long.csv", "--output_dir", "out")
    assert_complete(home / "out")


@pytest.mark.slow
def test_a_search_and_an_export(home, distill):
    """The student that the search chose is the one that is trained, exported, and compared with the defaults."""
    for package in ("optuna", "onnxscript"):
        pytest.importorskip(package, reason="the extras `search` and `export` are not installed")
    words = ("--search_trials", "2", "--search_trade_off", "--max_parameters", "50K", "--export", "onnx")
    printed = distill(*OWN, "--test_file", "test.tsv", *words)
    student, results = assert_complete(home / "out", ("teacher", "student"))
    assert student.config.num_hidden_layers == 1 and (home / "out/onnx/model.onnx").stat().st_size > 0
    assert results["onnx_accuracy"] == results["student_accuracy"] and "defaults_accuracy" in results
    assert (home / "out/report/search_front.png").stat().st_size > 0
    assert "The best of 2 on the validation texts" in printed
    public = [path.relative_to(home / "out").parts[0] for path in (home / "out").rglob("*") if path.is_file()]
    private = {name for name in public if name.startswith(("_", "checkpoint-"))}
    assert private >= {"_search.log", "_defaults"} and not {"teacher", "baseline", "defaults"} & set(public)


@pytest.mark.slow
def test_an_export_that_is_refused_costs_no_report(home, distill, monkeypatch):
    """After hours of training nothing of it would be told."""
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    monkeypatch.setattr(formats("text-classification")["onnx"], "tolerance", -1.0)
    write_table(home / "train.csv", [(text, {"bad": "$5-$10", "good": "<b>|`"}[label]) for text, label in ROWS])
    save_model(home / "teacher", make_tokenizer(), names=["$5-$10", "<b>|`"])
    distill(*OWN, "--export", "onnx", "int8")
    _, results = assert_complete(home / "out")
    report = (home / "out/report/report.md").read_text(encoding="utf-8")
    assert "**Not made: the export.** the onnx export is broken" in report and "reliability.png" in report
    assert "Not made" in (home / "out/README.md").read_text(encoding="utf-8")
    assert "int8_accuracy" in results and "onnx_accuracy" not in results and "int8 against the student" in report
