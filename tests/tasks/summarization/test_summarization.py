"""Summarizers: ROUGE as others count it, and one from its teacher's distributions to a report and its saved folder."""

import random

import pytest
from datasets import Dataset
from tiny import WORDS, distance, make_tokenizer, weights
from tiny_seq2seq import make_seq2seq, make_seq2seq_args
from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq

from hfdistill import Seq2SeqDistillationTrainer, compare, make_student, summary_metrics, token_soft_targets
from hfdistill.tasks.summarization.metrics import rouge, rouge_counts, rouge_means

PAIRS = [
    ("The cat sat on the mat.", "the cat, on the mat"),
    ("a b c d", "d c b a"),
    ("A-1 a_1", "a 1 a 1"),
    ("", "nothing here"),
    ("one one one", "one two one"),
]


def test_rouge_is_counted_as_by_hand():
    assert rouge("the cat sat on the mat", "the cat on the mat") == pytest.approx([10 / 11, 10 / 11, 6 / 9])
    assert rouge("a b c d", "d c b a") == pytest.approx([2 / 8, 1.0, 0.0])
    assert rouge("", "a") == rouge("a", "b") == [0.0, 0.0, 0.0]
    assert rouge("für Ärzte", "Für ärzte") == [1.0, 1.0, 1.0]
    made, wanted = zip(*PAIRS[:2], strict=True)
    assert rouge_means(rouge_counts(made, wanted).sum(0))["rouge1"] == pytest.approx((10 / 11 + 1) / 2)


def test_rouge_is_that_of_rouge_score():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL", "rouge1", "rouge2"])
    rng = random.Random(0)
    pairs = [*PAIRS, *([" ".join(rng.choices("abcd", k=rng.randint(1, 9))) for _ in "ab"] for _ in range(50))]
    for made, wanted in pairs:
        assert rouge(made, wanted) == pytest.approx([one.fmeasure for one in scorer.score(wanted, made).values()])


def texts(count=12, seed=0):
    """Texts and their summaries: every third word, and the end."""
    rng = random.Random(seed)
    rows = [[*rng.choices(range(4, len(WORDS)), k=rng.randint(4, 12)), 3] for _ in range(count)]
    return Dataset.from_dict({"input_ids": rows, "labels": [[*row[:-1:3], 3] for row in rows]})


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_a_summarizer_from_its_teacher_to_a_report_and_its_folder(tmp_path, family, quick_report):
    tokenizer, rows, teacher = make_tokenizer(), texts(), make_seq2seq(family, 2)
    student = make_student(teacher, num_decoder_layers=1)
    before = weights(student)
    stored = token_soft_targets(teacher, rows, tokenizer, store=tmp_path / "store")
    trainer = Seq2SeqDistillationTrainer(
        student,
        make_seq2seq_args(tmp_path / "out", num_train_epochs=2, predict_with_generate=True),
        train_dataset=stored,
        eval_dataset=rows,
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        compute_metrics=summary_metrics(tokenizer),
    )
    trainer.train()
    assert distance(before, weights(student)) > 1e-3
    found = trainer.evaluate()
    trainer.save_model()
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
    comparison = compare(teacher, loaded, rows, tokenizer)
    metrics = comparison.models["student"].metrics
    assert {name: found[f"eval_{name}"] for name in metrics} == pytest.approx(metrics)
    assert [*metrics] == ["rougeL", "rouge1", "rouge2"] and 0 <= metrics["rouge1"] <= 1
    assert compare(teacher, teacher, rows, tokenizer).models["student"].agreement == 1.0
    assert "rougeL" in str(comparison) and comparison.models["student"].parameters < teacher.num_parameters()


def test_rows_without_summaries_are_named():
    model = make_seq2seq("bart")
    with pytest.raises(ValueError, match="needs rows with input_ids and labels, and there are 12 with input_ids"):
        compare(model, model, texts().select_columns("input_ids"), make_tokenizer())
