"""A prompted language model where a teacher is expected: live, stored, in another order, in an ensemble, compared."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset, load_from_disk
from processes import TWO_RANKS, run_script
from tiny import logs_of, make_model, make_trainer
from tiny import make_rows as make_tokens
from tiny_prompts import (
    CHAT,
    NAMES,
    TEMPLATE,
    VERBALIZER,
    make_bpe,
    make_causal,
    make_masked,
    make_rows,
    make_wordpiece,
)

from hfdistill import ModelTeacher, PromptTeacher, StaleSoftTargets, compare, soft_targets
from hfdistill.teachers.prompted.calibration import CONTENT_FREE, contextual_bias, fitted_calibration


def make_teacher(template=TEMPLATE, verbalizer=VERBALIZER, seed=0, **settings):
    return PromptTeacher(make_causal(seed=seed), make_bpe(), template, verbalizer, **settings)


def make_student(*names):
    config = {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
    return make_model(1, **config)


def with_tokens(rows):
    return Dataset.from_dict({**make_tokens(len(rows)).to_dict(), "text": rows["text"][:]})


def stored(teacher, rows, folder):
    return np.array(soft_targets(teacher, rows, store=folder)["teacher_logits"][:])


def test_live_and_stored_teach_the_same_in_the_students_order(tmp_path):
    """The student names its labels in another order."""
    rows, losses = with_tokens(make_rows(16)), []
    for teacher, given in [(make_teacher(), rows), (None, soft_targets(make_teacher(), rows, store=tmp_path / "s"))]:
        trainer = make_trainer(tmp_path, make_student(*NAMES[::-1]), given, teacher=teacher, alpha=0.7)
        trainer.train()
        losses.append(logs_of(trainer, "loss", "soft_target_loss"))
    np.testing.assert_allclose(*losses, atol=1e-4)
    trainer = make_trainer(tmp_path, make_student(*NAMES), rows, teacher=make_teacher(), alpha=0.7)
    trainer.train()
    assert abs(logs_of(trainer, "loss")[0][0] - losses[0][0][0]) > 1e-3  # a canary: the order matters


def test_labels_that_the_verbalizer_lacks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="teacher and student name their labels differently: bad, fair, good against"):
        make_trainer(tmp_path, make_student("bad", "fair", "best"), with_tokens(make_rows(4)), teacher=make_teacher())


def test_it_joins_an_ensemble_and_a_comparison(tmp_path):
    rows = make_rows(12)
    reader = ModelTeacher(make_masked_classifier(), make_wordpiece(), ["text"])
    kept = soft_targets([make_teacher(), reader], rows, store=tmp_path / "kept")
    assert np.array(kept["ensemble_logits"][:]).shape == (12, 2, 3)
    teacher = make_teacher()
    measured = compare(
        teacher.model,
        make_masked_classifier(),
        rows,
        make_wordpiece(),
        teacher_processing_class=teacher.processing_class,
        text_columns=["text"],
    )
    right = stored(teacher, rows, tmp_path / "alone").argmax(1) == np.array(rows["label"][:])
    assert measured.models["teacher"].metrics["accuracy"] == pytest.approx(right.mean())


def make_masked_classifier():
    config = {"id2label": dict(enumerate(NAMES)), "label2id": {name: place for place, name in enumerate(NAMES)}}
    return make_model(3, vocab_size=140, max_position_embeddings=64, **config)


def test_what_it_depends_on_is_fingerprinted(tmp_path):
    rows = make_rows(4)
    stored(make_teacher(), rows, tmp_path)
    assert stored(make_teacher(), rows, tmp_path).shape == (4, 3)
    for other, what in [
        (make_teacher("Text: {text}\nSentiment:"), "prompt"),
        (make_teacher(verbalizer={**VERBALIZER, "good": "dull"}), "label words"),
        (make_teacher().calibrate(), "calibration"),
        (make_teacher(seed=1), "teacher weights"),
    ]:
        with pytest.raises(StaleSoftTargets, match=f"differ in {what}"):
            stored(other, rows, tmp_path)


# ---- Calibration ----


def test_contextual_calibration_is_its_formula(tmp_path):
    """`W p` normalized, `W = diag(p_cf)⁻¹`, with the mean of the content-free texts' probabilities."""
    rows = make_rows(6)
    plain = torch.tensor(stored(make_teacher(), rows, tmp_path / "plain")).softmax(-1)
    free = Dataset.from_dict({"text": list(CONTENT_FREE)})
    expected_free = torch.tensor(stored(make_teacher(), free, tmp_path / "free")).softmax(-1).mean(0)
    expected = plain / expected_free
    found = torch.tensor(stored(make_teacher().calibrate(), rows, tmp_path / "calibrated")).softmax(-1)
    torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True), atol=1e-4, rtol=1e-4)
    assert (expected_free - 1 / 3).abs().max() > 0.05  # a canary: there is something to take away


def test_calibration_on_labels_is_the_minimum_of_its_formula():
    torch.manual_seed(0)
    logits, labels = torch.randn(20, 3) + torch.tensor([3.0, 0, 0]), torch.randint(3, (20,))
    scale, bias = fitted_calibration(logits, labels)

    def loss(scale, bias):
        p = (scale * logits.double() + bias).softmax(-1)
        fit = -sum(row[label].log() for row, label in zip(p, labels, strict=True))
        return (fit + (bias**2).sum() / 2 + scale.log() ** 2 / 2).item()

    best = loss(torch.tensor(scale), bias)
    for change in torch.randn(50, 4, dtype=torch.float64) * 0.05:
        assert loss(torch.tensor(scale) * change[0].exp(), bias + change[1:]) > best


def test_few_labels_calibrate_what_they_show(tmp_path):
    """Rows without a label are passed over, names are compared, and a second call begins from the model's own."""
    rows, teacher = make_rows(12), make_teacher()
    hidden = rows.map(lambda row, place: {"label": -100 if place % 3 else 2}, with_indices=True)
    for _ in range(2):
        teacher.calibrate(hidden)
    assert np.argmax(teacher.model.bias) == 2 and teacher.model.scale > 0
    once = make_teacher().calibrate(hidden)
    assert (once.model.scale, once.model.bias) == (teacher.model.scale, teacher.model.bias)
    with pytest.raises(ValueError, match="no row has a label to calibrate on"):
        teacher.calibrate(hidden.filter(lambda row: row["label"] == -100))
    with pytest.raises(ValueError, match="row 0 has the label 'best', and the verbalizer has words for bad, fair"):
        teacher.calibrate(Dataset.from_dict({"text": ["a"], "label": ["best"]}))


# ---- Examples, chats, long texts ----


def prompts_of(teacher, rows):
    made = teacher.processing_class(rows["text"][:], max_length=teacher.max_length)
    return [teacher.processing_class.decode(ids) for ids in made["input_ids"]]


def test_examples_are_drawn_evenly_and_named_by_their_words():
    rows = make_rows(12).map(lambda row, place: {"label": -100 if place > 6 else row["label"]}, with_indices=True)
    template = "Say what it is.\n\n" + TEMPLATE
    tokenizer = make_bpe(model_max_length=500)
    model = make_causal()
    model.config.n_positions = 500
    first, again, other = (
        PromptTeacher(model, tokenizer, template, VERBALIZER, examples=rows, num_examples=3, seed=seed)
        for seed in (0, 0, 1)
    )
    [prompt] = prompts_of(first, rows.select([9]))
    assert [prompt] == prompts_of(again, rows.select([9])) != prompts_of(other, rows.select([9]))
    instruction, *shown, last = prompt.split("\n\n")
    assert instruction == "Say what it is." and last == f"Review: {rows['text'][9]}\nSentiment:"
    words = {"bad": "bad", "fair": "very fair", "good": "good"}
    labels = {text: words[NAMES[label]] for text, label in zip(rows["text"][:7], rows["label"][:7], strict=True)}
    said = dict(one.removeprefix("Review: ").split("\nSentiment: ") for one in shown)
    assert sorted(said.values()) == sorted(words.values()) and said.items() <= labels.items()


def test_a_chat_template_writes_the_prompt():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it good? {text}"}]
    tokenizer = make_bpe(model_max_length=500, chat_template=CHAT)
    model = make_causal()
    model.config.n_positions = 500
    teacher = PromptTeacher(model, tokenizer, messages, VERBALIZER, examples=make_rows(), num_examples=1)
    [prompt] = prompts_of(teacher, make_rows(1))
    one = "<|user|>Is it good? {}<|end|>\n<|assistant|>"
    example = next(text for text in make_rows()["text"] if f"{one.format(text)}bad" in prompt)
    assert prompt == (
        f"<|system|>Be brief.<|end|>\n{one.format(example)}bad<|end|>\n{one.format(make_rows()['text'][0])}"
    )
    end = tokenizer("<|end|>")["input_ids"][0]
    assert all(ids[-1] == end for ids in teacher.model.words)  # which ends the word


def test_a_long_text_is_cut_at_its_end_and_counted(tmp_path, caplog):
    """The words behind the text would be cut off, or the model run beyond its positions."""
    rows = make_rows(3).map(lambda row, place: {"text": row["text"] * (1 + 29 * (place == 1))}, with_indices=True)
    teacher = make_teacher()
    stored(teacher, rows, tmp_path)
    assert "1 of 3 rows are longer than the teacher's 64 tokens and were cut" in caplog.text
    whole, cut, _ = prompts_of(teacher, rows)
    text = cut.removeprefix("Review: ").removesuffix("\nSentiment:")
    assert whole == TEMPLATE.format(text=rows["text"][0]) and rows["text"][1].startswith(text)
    longest = max(map(len, teacher.model.words))
    fits, does_not = (
        len(make_bpe()(TEMPLATE.format(text=rows["text"][1][: len(text) + more]))["input_ids"]) for more in (0, 1)
    )
    assert fits <= 64 - longest < does_not


def test_of_a_pair_the_longer_text_is_cut():
    teacher = PromptTeacher(
        make_causal(), make_bpe(), "{text}\n{text_pair}\nSame:", {"no": "bad", "yes": "good"}, ["text", "other"]
    )
    made = teacher.processing_class(["the film is a joy"], ["it never ends " * 40], max_length=teacher.max_length)
    decoded = teacher.processing_class.tokenizer.decode(made["input_ids"][0])
    assert decoded.startswith("the film is a joy\nit never ends") and decoded.endswith("\nSame:")
    assert made["cut"] == [True] and len(made["input_ids"][0]) >= 60


# ---- What is refused ----


@pytest.mark.parametrize(
    ("template", "verbalizer", "message"),
    [
        ("Sentiment:", VERBALIZER, "no place for the text: write {text}"),
        ("{sentence} is", VERBALIZER, "has a place {sentence}, and the places are {text}, {text_pair} and {label}"),
        ("{text} {", VERBALIZER, "has a brace too many"),
        ("{text} {text}:", VERBALIZER, "has the place {text} twice"),
        ("{label}: {text}", VERBALIZER, "a text behind {label}: put the label last"),
        ("{text} or {text_pair}:", VERBALIZER, "places for text, text_pair, and text_columns names text"),
        ([{"role": "user", "content": "{text}"}], VERBALIZER, "the tokenizer has no chat_template"),
        (TEMPLATE, {"bad": "bad"}, "two labels or more; got bad"),
        (TEMPLATE, ["bad", "bad"], "the label 'bad' is named twice"),
        (TEMPLATE, {"bad": "bad", "Bad": "good"}, "two labels are called 'bad' but for their case"),
        (TEMPLATE, {"bad": [], "good": "good"}, "no word for the label 'bad'"),
        (TEMPLATE, {"bad": "it", "good": "it"}, "the word 'it' twice"),
        (TEMPLATE, {"bad": "very", "good": "very dull"}, "'very' begins 'very dull', so that every text of the second"),
        ("so long " * 60 + "{text}:", VERBALIZER, "the prompt alone has"),
    ],
)
def test_what_cannot_be_asked_is_refused(template, verbalizer, message):
    with pytest.raises(ValueError, match=message.replace("{", "\\{").replace("}", "\\}")):
        make_teacher(template, verbalizer)


def test_words_that_the_tokenizer_does_not_know_are_refused():
    with pytest.raises(ValueError, match="does not know the label word '♥'"):
        PromptTeacher(make_masked(), make_wordpiece(), "{text} {label}", {"bad": "bad", "good": "♥"})
    with pytest.raises(ValueError, match="'nd' shares a token with what stands before it: end the template"):
        PromptTeacher(make_causal(), make_wordpiece(), "{text}{label}", {"bad": "nd", "good": "good"})
    with pytest.raises(ValueError, match="'Good' and 'good' are the same tokens"):
        PromptTeacher(make_masked(), make_wordpiece(), "{text} {label}", {"bad": "Good", "good": "good"})


def test_a_classifier_is_no_language_model(tmp_path):
    with pytest.raises(ValueError, match="BertForSequenceClassification is no language model"):
        PromptTeacher(make_model(), make_bpe(), TEMPLATE, VERBALIZER)
    with pytest.raises(ValueError, match="has its own tokenizer and text_columns"):
        soft_targets(make_teacher(), make_rows(), make_bpe(), store=tmp_path)
    with pytest.raises(ValueError, match="reads the columns review, which the dataset lacks"):
        soft_targets(make_teacher(text_columns="review"), make_rows(), store=tmp_path)


@pytest.mark.parametrize("make", [make_causal, make_masked])
def test_a_saved_model_is_loaded_as_what_it_was(make, tmp_path):
    model, tokenizer = make(), make_bpe() if make is make_causal else make_wordpiece()
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    loaded = PromptTeacher.from_pretrained(tmp_path / "lm", TEMPLATE + " {label}", VERBALIZER)
    given = PromptTeacher(model, tokenizer, TEMPLATE + " {label}", VERBALIZER)
    rows = make_rows(4)
    np.testing.assert_allclose(stored(loaded, rows, tmp_path / "a"), stored(given, rows, tmp_path / "b"), atol=1e-6)
    assert loaded.name == str(tmp_path / "lm")


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path):
    folder = tmp_path / "lm"
    make_causal().save_pretrained(folder)
    make_bpe().save_pretrained(folder)
    make_rows(12).save_to_disk(folder / "dataset")
    done = run_script("make_prompted_soft_targets.py", folder, tmp_path, launcher=TWO_RANKS, ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [np.load(tmp_path / f"rank{rank}.npz") for rank in range(2)]
    expected = stored(make_teacher(), load_from_disk(folder / "dataset"), tmp_path / "one")
    for rank in ranks:
        np.testing.assert_allclose(rank["logits"], expected, atol=1e-4)
        assert 0 < rank["rows"] < 12
    assert sum(rank["rows"] for rank in ranks) == 12


def test_a_row_without_a_text_is_refused():
    """It was asked about as if its text were empty."""
    with pytest.raises(ValueError, match=r"text 1 of those for \{text\} is missing"):
        soft_targets(make_teacher(), Dataset.from_dict({"text": ["a", None]}))


def test_a_model_that_overflows_is_not_calibrated():
    teacher = make_teacher(TEMPLATE, VERBALIZER)
    with torch.no_grad():
        teacher.model.prompted.get_input_embeddings().weight.fill_(math.nan)
    with pytest.raises(ValueError, match="predictions are not finite, so that nothing can be calibrated"):
        teacher.calibrate()


def test_calibration_of_a_word_that_is_next_to_impossible_stays_finite():
    logits = torch.tensor([[0.0, -2000.0], [0.0, -1000.0]])
    bias = contextual_bias(logits)
    assert bias.isfinite().all() and bias[1] == pytest.approx(1000 + math.log(2), abs=1e-3)
