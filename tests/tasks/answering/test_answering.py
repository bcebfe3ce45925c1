"""Answers: features of long contexts, the places of answers, the likeliest span of all features, exact match and F1."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import make_args
from transformers import BertConfig, BertForQuestionAnswering

from hfdistill import (
    DistillationTrainer,
    answer_scores,
    compare,
    question_answering_data,
    question_answering_dataset,
    question_answering_metrics,
    soft_targets,
)
from hfdistill.tasks.answering.data import feature_reader, features_of
from hfdistill.tasks.answering.demo import demo_questions
from hfdistill.tasks.answering.spans import answers_of
from hfdistill.tasks.demo import demo_tokenizer

CONTEXT = "omar works as a baker . anna lives in new york . the job of anna is pilot . " * 3 + "li eats soup ."
ROWS = [
    {"question": "where does anna live ?", "context": CONTEXT, "answers": {"text": ["new york"], "answer_start": [38]}},
    {"question": "what does li eat ?", "context": CONTEXT, "answers": {"text": ["soup"], "answer_start": [236]}},
    {"question": "where does ivan live ?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
]


@pytest.fixture(scope="module")
def tokenizer():
    rows = demo_questions(num_train=300, num_eval=10)["train"]
    return demo_tokenizer(f"{row['question']} {row['context']}" for row in rows)


def finder(seed, tokenizer):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = {"vocab_size": len(tokenizer), "max_position_embeddings": 128, "initializer_range": 0.4}
    return BertForQuestionAnswering(BertConfig(**config, **sizes)).eval()


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def squad(path):
    kinds = [[{"text": t, "answer_start": s} for t, s in zip(*row["answers"].values(), strict=True)] for row in ROWS]
    asked = [{"id": "1", "question": r["question"], "answers": a} for r, a in zip(ROWS, kinds, strict=True)]
    asked[2] |= {"is_impossible": True, "plausible_answers": [{"text": "york", "answer_start": 42}]}
    path.write_text(
        json.dumps({"version": "2", "data": [{"paragraphs": [{"context": CONTEXT, "qas": asked}]}]}, indent=1)
    )
    return path


def test_every_way_to_write_answers_is_one_dataset(tmp_path):
    files = [squad(tmp_path / "squad.json"), write(tmp_path / "rows.jsonl", ROWS), Dataset.from_list(ROWS)]
    for file in files:
        data = question_answering_dataset(file, file)
        assert [row["answers"] for row in data.dataset["train"]] == [row["answers"] for row in ROWS]
    assert question_answering_data(str(files[1]), str(files[1])).name.endswith("rows.jsonl")


BAD = [
    ({"text": ["new york"], "answer_start": [30]}, r"Line 1 of .*: the answer 'new york' is not in its .* it is at 38"),
    ({"text": ["rome"], "answer_start": [0]}, r"the answer 'rome' is not in its context \('omar works"),
    ({"text": [""], "answer_start": [0]}, "an answer is ''; of a question without one leave the lists empty"),
    ("rome", "holds 'rome'; expected lists text and answer_start"),
]


@pytest.mark.parametrize(("answers", "said"), BAD)
def test_an_answer_that_is_not_in_its_context_is_refused(tmp_path, answers, said):
    file = write(tmp_path / "rows.jsonl", [{**ROWS[0], "answers": answers}])
    with pytest.raises(ValueError, match=said):
        question_answering_dataset(file, file)


@pytest.mark.parametrize("length", [36, 128])
def test_the_place_of_an_answer_reads_as_the_answer(tokenizer, length):
    """In every feature it is the answer or, where that does not lie in it, the first token."""
    features = features_of(Dataset.from_list(ROWS), feature_reader(tokenizer, length, 10))
    assert (len(features) > 6) == (length == 36)
    found = {row: set() for row in range(3)}
    for feature in features:
        start, end = feature["start_positions"], feature["end_positions"]
        first, last = feature["context_start"][start], feature["context_end"][end]
        found[feature["example"]].add(CONTEXT[first:last].strip() if start else "")
        assert len(feature["input_ids"]) <= length
    assert found[0] - {""} == {"new york"} and found[1] - {""} == {"soup"} and found[2] == {""}


def naive_answers(features, logits, may_have_none):
    """All spans of all features, one by one."""
    best, lacking = {}, {}
    for feature, (start, end) in zip(features, logits, strict=True):
        row = feature["example"]
        lacking[row] = min(lacking.get(row, np.inf), start[0] + end[0])
        places = [place for place, first in enumerate(feature["context_start"]) if first >= 0]
        for i in places:
            for j in places:
                if i <= j < i + 30 and start[i] + end[j] > best.get(row, (-np.inf, ""))[0]:
                    text = CONTEXT[feature["context_start"][i] : feature["context_end"][j]]
                    best[row] = start[i] + end[j], text.strip()
    return ["" if may_have_none and lacking[row] > best[row][0] else best[row][1] for row in sorted(best)]


@pytest.mark.parametrize("may_have_none", [False, True])
def test_the_answer_is_the_likeliest_span_of_all_features(tokenizer, may_have_none):
    features = list(features_of(Dataset.from_list(ROWS), feature_reader(tokenizer, 40, 10)))
    rng = np.random.default_rng(0)
    for _ in range(10):
        logits = [rng.normal(size=(2, len(one["input_ids"]))) * 3 for one in features]
        for one in logits:
            one[:, 0] += 6
        found = answers_of(features, logits, [CONTEXT] * 3, tokenizer, may_have_none)
        assert [one.text for one in found] == naive_answers(features, logits, may_have_none)
        assert all(CONTEXT[one.start :].startswith(one.text) for one in found if one.text)


def test_scores_are_those_of_squad():
    """By hand: articles, case and marks do not count; the best of several answers does."""
    assert answer_scores("The Eiffel Tower!", ["eiffel tower"]) == (1.0, 1.0)
    assert answer_scores("tower of Paris", ["the tower", "Paris tower"]) == (0.0, pytest.approx(0.8))
    assert answer_scores("", []) == (1.0, 1.0) and answer_scores("paris", []) == (0.0, 0.0)
    assert answer_scores("", ["paris"]) == (0.0, 0.0)


def test_a_student_learns_stored_answers_and_is_compared(tokenizer, tmp_path):
    data = question_answering_dataset(Dataset.from_list(ROWS), Dataset.from_list(ROWS))
    rows = data.tokenized(tokenizer, 40, 10)
    teacher, student = finder(7, tokenizer), finder(1, tokenizer)
    stored = soft_targets(teacher, rows, tokenizer, store=tmp_path / "store")
    trainer = DistillationTrainer(
        student, make_args(tmp_path, num_train_epochs=1), train_dataset=stored["train"],
        eval_dataset=stored["validation"], processing_class=tokenizer, compute_metrics=question_answering_metrics,
    )  # fmt: skip
    trainer.train()
    figures = trainer.evaluate()
    assert (
        0 <= figures["eval_span_exact_match"] <= figures["eval_span_f1"] <= 1 and figures["eval_soft_target_loss"] > 0
    )
    found = compare(
        teacher, student, data.dataset["validation"], tokenizer, baseline=finder(2, tokenizer), max_length=40
    )
    for role, model in (("teacher", teacher), ("student", student)):
        features = list(features_of(data.dataset["validation"], feature_reader(tokenizer, 40)))
        with torch.no_grad():
            outputs = [model.cpu()(input_ids=torch.tensor([one["input_ids"]])) for one in features]
        logits = [np.stack([one.start_logits[0].numpy(), one.end_logits[0].numpy()]) for one in outputs]
        answers = naive_answers(features, logits, True)
        scores = [answer_scores(text, row["answers"]["text"]) for text, row in zip(answers, ROWS, strict=True)]
        assert found.models[role].metrics["f1"] == pytest.approx(np.mean([f1 for _, f1 in scores]))
        assert found.models[role].metrics["exact_match"] == pytest.approx(np.mean([exact for exact, _ in scores]))
    assert [one.name for one in found.classes] == ["with an answer", "without one"]
    assert all("[" in one.predictions["teacher"] or "(no" in one.predictions["teacher"] for one in found.disagreements)


def test_questions_without_answers_teach_by_soft_targets_alone(tokenizer, tmp_path):
    held, more = Dataset.from_list(ROWS), Dataset.from_list([{"question": "who ?", "context": "li eats soup ."}])
    data = question_answering_dataset(held, held, unlabeled_file=more)
    rows = data.tokenized(tokenizer)["train"]
    assert rows["start_positions"][-1] == rows["end_positions"][-1] == -1 and min(rows["start_positions"][:-1]) >= 0
