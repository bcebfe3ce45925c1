"""Comparisons of every head on rows that are easily measured wrong and say nothing of it: models that have diverged,
rows that were padded or have no label, partners that occur twice."""

import random

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import WORDS, make_tokenizer
from tiny_media import make_writer, make_writer_tokenizer, writer_rows
from tiny_seq2seq import make_seq2seq
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
)

from hfdistill import as_reranker, as_sentence_encoder, compare, multiple_choice_metrics, tokenize_choices

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.4}

pytestmark = pytest.mark.usefixtures("quick_report")


def bert(kind, seed=0, **changes):
    torch.manual_seed(seed)
    settings = {"vocab_size": len(WORDS), "max_position_embeddings": 32, **SIZES, **QUIET, **changes}
    return kind(BertConfig(**settings))


def gpt2(seed=0):
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2, initializer_range=0.4)
    return GPT2LMHeadModel(config)


def texts(count=8, seed=1):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS[4:], k=rng.randint(2, 8))) for _ in range(count)]


def ids(seed=1):
    return make_tokenizer()(texts(seed=seed), add_special_tokens=False)["input_ids"]


def choices(labels=None, column="labels"):
    columns = {
        "question": texts(),
        "choices": [list(three) for three in zip(*(texts(seed=n) for n in (2, 3, 4)), strict=True)],
    }
    columns |= {column: labels or [n % 3 for n in range(8)]}
    how = {"tokenizer": make_tokenizer(), "context": "question", "choices": "choices"}
    return Dataset.from_dict(columns).map(tokenize_choices, batched=True, fn_kwargs=how)


def questions(answered=8):
    rows = [
        {"question": text, "context": f"w7 w8 w9 {text}", "answers": {"text": ["w8"], "answer_start": [3]}}
        for text in texts()
    ]
    unknown = {"answers": {"text": None, "answer_start": None}}
    return Dataset.from_list([row if number < answered else row | unknown for number, row in enumerate(rows)])


def pairs():
    return Dataset.from_dict({"text": texts(), "other": texts(seed=2)})


def tagged(labels=(0, 1, 2)):
    words = [text.split() for text in texts()]
    return Dataset.from_dict(
        {"tokens": words, "labels": [[labels[place % len(labels)] for place, _ in enumerate(row)] for row in words]}
    )


def masked():
    rows = ids()
    return Dataset.from_dict({"input_ids": rows, "labels": [[row[0], *[-100] * (len(row) - 1)] for row in rows]})


def language():
    return Dataset.from_dict({"input_ids": ids()})


HEADS = {
    "choices": (lambda: bert(BertForMultipleChoice), choices),
    "candidates": (lambda: as_reranker(bert(BertForSequenceClassification, num_labels=1)), choices),
    "answers": (lambda: bert(BertForQuestionAnswering), questions),
    "embeddings": (lambda: as_sentence_encoder(bert(BertModel)), pairs),
    "tags": (lambda: bert(BertForTokenClassification, num_labels=3), tagged),
    "masked": (lambda: bert(BertForMaskedLM), masked),
    "next": (gpt2, language),
}


@pytest.mark.parametrize("head", HEADS)
def test_a_model_that_has_diverged_is_refused(head):
    """NaN is no less than another number: the right choice would be the first in every row, an accuracy of 100 %."""
    make, rows = HEADS[head]
    student = make()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(ValueError, match="diverged"):
        compare(make(), student, rows(), make_tokenizer())


def test_a_trainer_s_metric_of_choices_refuses_nan():
    class Prediction:
        predictions, label_ids = np.full((4, 3), np.nan), np.zeros(4, int)

    with pytest.raises(ValueError, match="diverged"):
        multiple_choice_metrics(Prediction)


def padded_to(width, rows, side="right"):
    def pad(row):
        empty = width - len(row["input_ids"])
        fills = {"input_ids": 0, "labels": -100}
        found = {name: (row[name] + [fills[name]] * empty) for name in row}
        found["attention_mask"] = [1] * len(row["input_ids"]) + [0] * empty
        return found if side == "right" else {name: values[-empty:] + values[:-empty] for name, values in found.items()}

    return Dataset.from_list([pad(row) if len(row["input_ids"]) < width else row for row in rows])


@pytest.mark.parametrize("head", ["masked", "next", "relations"])
def test_language_models_are_measured_alike_on_rows_that_were_padded(head):
    """Padding would be attended to, and predicted."""
    make, rows = HEADS["next"] if head == "next" else HEADS["masked"]
    make, other = (lambda: bert(BertModel), lambda: bert(BertModel, 1)) if head == "relations" else (make, make)
    data = rows() if head != "relations" else rows().remove_columns("labels")
    figures = [
        compare(other(), make(), one, make_tokenizer()).models["student"].metrics for one in (data, padded_to(16, data))
    ]
    assert figures[1] == pytest.approx(figures[0], rel=1e-5)


def test_summaries_are_measured_alike_on_rows_that_were_padded():
    data = Dataset.from_dict({"input_ids": ids(), "labels": ids(2)})
    found = []
    for rows in (data, padded_to(16, data.remove_columns("labels")).add_column("labels", data["labels"][:])):
        one = compare(make_seq2seq("bart", 1), make_seq2seq("bart", 2), rows, make_tokenizer())
        found.append((one.models["student"].metrics, one.models["student"].agreement))
    assert found[1] == found[0]


def test_summaries_and_questions_that_nobody_wrote_count_for_nothing():
    data = Dataset.from_dict({"input_ids": ids(), "labels": ids(2)})
    without = Dataset.from_dict({"input_ids": [*ids(), [5, 6]], "labels": [*ids(2), [-100, -100]]})
    for make, whole, holes in (
        (lambda: make_seq2seq("bart", 1), data, without),
        (lambda: bert(BertForQuestionAnswering), questions().select(range(5)), questions(5)),
    ):
        one, other = (compare(make(), make(), rows, make_tokenizer()) for rows in (whole, holes))
        assert other.models["student"].metrics == one.models["student"].metrics
        assert other.rows == one.rows


def test_recordings_that_nobody_wrote_down_count_for_nothing():
    """A model always writes something, which would all be wrong."""
    whole, tokenizer = writer_rows(6), make_writer_tokenizer()
    labels = [[-100, -100] if row == 2 else one for row, one in enumerate(whole["labels"])]
    holes = whole.remove_columns("labels").add_column("labels", labels)
    kept = whole.select([0, 1, 3, 4, 5])
    one, other = (compare(make_writer(1), make_writer(2), rows, tokenizer) for rows in (kept, holes))
    assert other.models["student"].metrics == one.models["student"].metrics and other.rows == 5
    assert {shown.text for shown in other.disagreements} <= {f"row {row}" for row in (0, 1, 3, 4, 5)}


def test_a_partner_that_occurs_twice_is_found_in_either_place():
    """An encoder finds every text itself."""
    twice = [*texts(), texts()[0]]
    model = as_sentence_encoder(bert(BertModel))
    found = compare(model, model, Dataset.from_dict({"text": twice, "other": twice}), make_tokenizer())
    assert found.models["student"].metrics == {"accuracy": 1.0, "mrr": 1.0}


OTHER_TASKS = {
    "next": (lambda: bert(BertForMaskedLM), "a BertForMaskedLM, decides a token of the vocabulary"),
    "tags": (lambda: bert(BertForSequenceClassification, num_labels=3), "decides one label for a row"),
    "answers": (lambda: bert(BertForTokenClassification, num_labels=2), "decides a label for each token"),
    "choices": (lambda: bert(BertForSequenceClassification, num_labels=3), "decides one label for a row"),
    "embeddings": (lambda: bert(BertModel), "and gives representations"),
}


@pytest.mark.parametrize("role", ["teacher", "baseline"])
@pytest.mark.parametrize("head", OTHER_TASKS)
def test_a_model_of_another_task_is_refused(head, role):
    """What a masked language model says of a token would be measured as what it says of the next one."""
    (make, rows), (other, said) = HEADS[head], OTHER_TASKS[head]
    models = {"teacher": make(), "student": make(), role: other()}
    with pytest.raises(ValueError, match=f"the {role}, .*{said}"):
        compare(models.pop("teacher"), models.pop("student"), rows(), make_tokenizer(), **models)
    with pytest.raises(TypeError, match="as teacher it got str: load it first"):
        compare("my/model", make(), rows(), make_tokenizer())


def test_a_cross_encoder_that_does_not_say_so_teaches_a_reranker():
    plain = bert(BertForSequenceClassification, num_labels=1)
    found = compare(plain, as_reranker(bert(BertForSequenceClassification, num_labels=1)), choices(), make_tokenizer())
    assert found.models["student"].agreement == 1.0


@pytest.mark.parametrize(
    ("similarities", "said"),
    [([0.5] * 8, "all 0.5"), ([0.1, float("inf"), *[0.2] * 6], "row 1 has the similarity inf")],
)
def test_similarities_without_a_correlation_are_refused(similarities, said):
    model = as_sentence_encoder(bert(BertModel))
    with pytest.raises(ValueError, match=said):
        compare(model, model, pairs().add_column("similarity", similarities), make_tokenizer())


def test_a_question_that_fills_a_feature_is_named():
    long = questions().map(lambda _, row: {"question": "w9 " * (40 if row == 3 else 2)}, with_indices=True)
    with pytest.raises(ValueError, match="row 3: the question takes 40 of the 32 tokens"):
        compare(bert(BertForQuestionAnswering), bert(BertForQuestionAnswering), long, make_tokenizer())


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 3] * 4, "row 1 has 3 choices, 0 to 2, and the label 3"),
        ([0.0, 0.7] * 4, "row 1 has 3 choices, 0 to 2, and the label 0.7"),
    ],
)
def test_a_label_that_is_no_choice_is_named(labels, said):
    with pytest.raises(ValueError, match=said):
        compare(bert(BertForMultipleChoice), bert(BertForMultipleChoice), choices(labels), make_tokenizer())


def test_choices_without_a_label_count_for_nothing():
    model, labels = bert(BertForMultipleChoice), [0, None, 2, 1, 0, None, 2, 1]
    found = compare(model, model, choices(labels), make_tokenizer()).models["student"].metrics
    left = [number for number, label in enumerate(labels) if label is not None]
    assert found == compare(model, model, choices(labels).select(left), make_tokenizer()).models["student"].metrics


def test_parts_of_speech_that_are_cut_off_count_as_wrong():
    names = {"id2label": {0: "noun", 1: "verb"}, "label2id": {"noun": 0, "verb": 1}}
    model = bert(BertForTokenClassification, max_position_embeddings=8, **names)
    words = Dataset.from_dict({"tokens": [["w5"] * 12], "labels": [[0] * 12]})
    read = compare(
        model, model, words.map(lambda row: {name: values[:8] for name, values in row.items()}), make_tokenizer()
    )
    whole = compare(model, model, words, make_tokenizer())
    right = 8 * read.models["student"].metrics["accuracy"]
    assert right and whole.models["student"].metrics["accuracy"] == pytest.approx(right / 12)


def test_a_tag_out_of_range_is_named():
    model = bert(BertForTokenClassification, num_labels=3)
    with pytest.raises(ValueError, match="row 0 .* label 7"):
        compare(model, model, tagged((0, 7)), make_tokenizer())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ([5] * 40, "row 3 has 40 tokens, and the GPT2LMHeadModel reads 32: tokenize with truncation=True"),
        ([5, 999], "row 3 has the token id 999, and the GPT2LMHeadModel has embeddings for the ids 0 to"),
    ],
)
def test_tokens_that_a_model_does_not_know_are_named(changed, said):
    rows = ids()
    rows[3] = changed
    with pytest.raises(ValueError, match=said):
        compare(gpt2(), gpt2(), Dataset.from_dict({"input_ids": rows}), make_tokenizer())


def test_a_pair_without_a_text_is_named():
    rows = pairs().map(lambda row, number: row | ({"other": None} if number == 2 else {}), with_indices=True)
    model = as_sentence_encoder(bert(BertModel))
    with pytest.raises(ValueError, match="row 2 has no text in the column other"):
        compare(model, model, rows, make_tokenizer())


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_choices_are_measured_alike_in_any_format(kind):
    model, rows = bert(BertForMultipleChoice), choices()
    formatted = rows.with_format(kind, columns=["input_ids", "attention_mask", "labels"], output_all_columns=True)
    plain, found = (compare(model, model, one, make_tokenizer()).models["student"] for one in (rows, formatted))
    assert found.metrics == plain.metrics
