"""A linear probe on frozen features: what it measures, that it leaves training as it is, and what it refuses."""

import random

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from tiny import WORDS, distance, logs_of, make_args, make_tokenizer, weights
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig

from hfdistill import EncoderTrainer, MaskedTextCollator, Probe, text_rows
from hfdistill.tasks.language_modeling.report import compare


def tokenizer_of_masks():
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"mask_token": WORDS[-1]})
    return tokenizer


def make_encoder(auto=AutoModelForMaskedLM, seed=0, **changes):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, **changes}
    return auto.from_config(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes))


def rows_of(texts, tokenizer):
    return text_rows(Dataset.from_dict({"text": texts}), tokenizer)


def write_rows(path, count, seed, label="label"):
    """Texts of words of low or high numbers, and which; every ninth without a label."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        high = rng.random() < 0.5
        words = rng.choices(WORDS[20:30] if high else WORDS[8:22], k=rng.randint(1, 12))
        rows.append(f"{' '.join(words)},{'' if number % 9 == 8 else 'high' if high else 'low'}")
    path.write_text("\n".join([f"text,{label}", *rows]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def probe(tmp_path):
    files = write_rows(tmp_path / "probe.csv", 40, 1), write_rows(tmp_path / "probe_test.csv", 30, 2)
    return Probe.read(*files, tokenizer_of_masks())


def naive_features(model, rows):
    """Of each text alone the mean over its tokens."""
    encoder = model.base_model.eval()
    with torch.no_grad():
        states = [encoder(torch.tensor([row["input_ids"]])).last_hidden_state[0] for row in rows]
    return np.stack([one.double().numpy().mean(0) for one in states])


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForMaskedLM])
def test_the_probe_is_a_regression_on_the_mean_of_each_texts_states(probe, auto):
    model = make_encoder(auto)
    assert (len(probe.train), len(probe.test)) == (36, 27)
    train, test = (naive_features(model, rows) for rows in (probe.train, probe.test))
    mean, spread = train.mean(0), train.std(0)
    regression = LogisticRegression(max_iter=1000).fit((train - mean) / spread, probe.train["labels"][:])
    right = regression.predict((test - mean) / spread) == np.array(probe.test["labels"])
    assert 0.5 < right.mean() < 1
    assert probe.accuracy(model) == probe.accuracy(model) == pytest.approx(right.mean())


def test_an_encoder_in_half_precision_is_probed(probe):
    """numpy has no bfloat16, in which a pretrained encoder may be loaded."""
    assert probe.accuracy(make_encoder().bfloat16()) == pytest.approx(probe.accuracy(make_encoder()), abs=0.2)


def run(out, probe, **changes):
    """A student with dropout, evaluated after every other step."""
    tokenizer, texts = tokenizer_of_masks(), [" ".join(WORDS[4 + (n + k) % 30] for k in range(12)) for n in range(16)]
    rows = rows_of(texts, tokenizer)
    args = {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 4, "learning_rate": 1e-2, **changes}
    collator = MaskedTextCollator(tokenizer, 0.3)
    student = make_encoder(seed=1, hidden_dropout_prob=0.3)
    kinds = {"eval_dataset": rows.map(collator.masked), "data_collator": collator, "processing_class": tokenizer}
    trainer = EncoderTrainer(
        student, make_args(out, **args), teacher=make_encoder(), train_dataset=rows, probe=probe, **kinds
    )
    trainer.train()
    return trainer


def test_each_evaluation_has_its_accuracy_and_training_goes_on_as_without(tmp_path, probe):
    probed, plain = run(tmp_path / "probed", probe), run(tmp_path / "plain", None)
    accuracies = [entry["eval_probe_accuracy"] for entry in probed.state.log_history if "eval_loss" in entry]
    assert len(accuracies) == 2 and accuracies[-1] == probe.accuracy(probed.model)
    assert "eval_accuracy" in probed.state.log_history[-2] and "eval_probe_accuracy" not in str(plain.state.log_history)
    assert distance(weights(probed.model), weights(plain.model)) == 0
    assert logs_of(probed, "loss") == logs_of(plain, "loss")
    probed.model.train()
    probe.accuracy(probed.model)
    assert all(module.training for module in probed.model.modules())


def test_the_best_model_may_be_chosen_by_it(tmp_path, probe):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "probe_accuracy", "save_steps": 2}
    trainer = run(tmp_path, probe, save_strategy="steps", **best)
    accuracies = [entry["eval_probe_accuracy"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.state.best_metric == max(accuracies) == probe.accuracy(trainer.model)


def test_a_comparison_has_it_of_every_model(probe):
    tokenizer = tokenizer_of_masks()
    rows = rows_of(["w1 w2 w3 w4 w5 w6"] * 4, tokenizer).map(MaskedTextCollator(tokenizer, 0.5).masked)
    models = {"teacher": make_encoder(), "student": make_encoder(seed=1)}
    comparison = compare(*models.values(), rows, tokenizer, baseline=make_encoder(seed=2), probe=probe)
    results = comparison.results()
    for role, model in {**models, "baseline": make_encoder(seed=2)}.items():
        assert results[f"{role}_probe_accuracy"] == probe.accuracy(model)
    assert "probe accuracy" in comparison.table() and "probe_accuracy" not in comparison.models["student"].metrics
    assert "learned from 36 labeled texts and measured on 27 others, of probe_test.csv" in probe.description


REFUSED = {
    "one class": ("text,label\na,x\nb,x\nc,x\n", r"the column 'label' of .*file.csv has one label alone to learn"),
    "no labels": ("text,label\na,\nb,\n", r"Column 'label' of .*file.csv holds no label"),
    "no column": (
        "text,kind\na,x\nb,y\n",
        r"file.csv has no column 'label' or 'labels'.* name the one .* label_column",
    ),
    "scores": ("text,label\na,0.5\nb,1.5\n", r"Line 2 of .*file.csv: label"),
    "one text": ("text,label\na,x\n", "too few to set some aside"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_probed_is_refused(tmp_path, name):
    content, said = REFUSED[name]
    (tmp_path / "file.csv").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        Probe.read(tmp_path / "file.csv", None, tokenizer_of_masks())


@pytest.mark.parametrize("given", [{"test_file": "test.csv"}, {"test_file": None, "label_column": "kind"}])
def test_half_a_probe_is_refused(given):
    """Without its file the others did nothing."""
    assert Probe.read(None, None, tokenizer_of_masks()) is None
    with pytest.raises(ValueError, match="give its --probe_file, too"):
        Probe.read(None, tokenizer=tokenizer_of_masks(), **given)
