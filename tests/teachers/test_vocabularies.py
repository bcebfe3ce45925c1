"""Shared token ids: allowed where they mean the same to teacher and student, refused with the way out elsewhere."""

import copy

import pytest
import torch
from datasets import Dataset
from tiny import make_model, make_rows, make_tokenizer, make_trainer
from tiny_seq2seq import VOCABULARY, make_pairs, make_seq2seq, make_seq2seq_trainer
from transformers import BertForSequenceClassification

from hfdistill import ModelTeacher, soft_targets
from hfdistill.models.inputs import check_token_ids
from hfdistill.tasks.classification.metrics import classification_metrics
from hfdistill.tasks.classification.report import compare
from hfdistill.teachers import EnsembleTeacher, StoredTeacher
from hfdistill.teachers.vocabularies import check_vocabularies


def test_the_same_vocabulary_is_accepted(tiny_bert, tokenizer):
    """A check that refuses equal vocabularies in two objects would send everybody the slow way."""
    check_vocabularies(ModelTeacher(tiny_bert(), tokenizer), tiny_bert(), copy.deepcopy(tokenizer))


def test_other_words_of_the_same_number_are_refused(tiny_bert, tokenizer, other_tokenizer):
    """Equal sizes hide it: the teacher would read another text than the student."""
    other_tokenizer.add_tokens([f"filler{number}" for number in range(len(tokenizer) - len(other_tokenizer))])
    assert len(other_tokenizer) == len(tokenizer)
    with pytest.raises(ValueError, match=r"different vocabularies.*text_columns=\['sentence'\]"):
        check_vocabularies(ModelTeacher(tiny_bert(), other_tokenizer), tiny_bert(), tokenizer)


def test_models_of_different_vocabulary_sizes_are_refused(tiny_bert, tokenizer):
    """A teacher given as a bare model brings no tokenizer: only the sizes can tell."""
    teacher = ModelTeacher(tiny_bert(vocab_size=70))
    with pytest.raises(ValueError, match=r"teacher's vocabulary has 70 entries and the student's 120.*text_columns"):
        check_vocabularies(teacher, tiny_bert(), tokenizer)
    with pytest.raises(ValueError, match="70 entries"):
        check_vocabularies(teacher, tiny_bert(), None)


def test_a_vocabulary_padded_to_a_round_number_is_the_same(tiny_bert, tokenizer):
    """Rows that no token uses are not a difference; but only a tokenizer tells that they are no tokens of another."""
    padded, student = tiny_bert(vocab_size=128), tiny_bert(vocab_size=120)
    check_vocabularies(ModelTeacher(padded, tokenizer), student, tokenizer)
    with pytest.raises(ValueError, match=r"128 entries.*120.*give it as ModelTeacher\(model, tokenizer\); otherwise"):
        check_vocabularies(ModelTeacher(padded), student, tokenizer)


def test_tokenizers_are_found_by_the_models_paths(tiny_bert, tokenizer, other_tokenizer, tmp_path):
    """A larger table hides another vocabulary: given as a bare model, the teacher reads nonsense."""
    for name, own, size in (("same", tokenizer, 120), ("other", other_tokenizer, 200)):
        tiny_bert(vocab_size=size).save_pretrained(tmp_path / name)
        own.save_pretrained(tmp_path / name)
    same, other = (BertForSequenceClassification.from_pretrained(tmp_path / name) for name in ("same", "other"))
    check_vocabularies(ModelTeacher(same), tiny_bert(), tokenizer)
    check_vocabularies(ModelTeacher(same), tiny_bert(vocab_size=128), tokenizer)
    with pytest.raises(ValueError, match=r"different vocabularies.*the one at .*other: give another as ModelTeacher"):
        check_vocabularies(ModelTeacher(other), tiny_bert(vocab_size=200), tokenizer)
    with pytest.raises(ValueError, match="different vocabularies"):
        check_vocabularies(ModelTeacher(other), same, None)  # the student's, too
    check_vocabularies(ModelTeacher(other, tokenizer), same, None)  # whoever gives one knows better
    with pytest.raises(ValueError, match="different vocabularies"):
        check_vocabularies(EnsembleTeacher([same, other]), tiny_bert(vocab_size=200), tokenizer)
    rows = Dataset.from_dict({"input_ids": [[2, 5, 3]], "label": [0]})
    with pytest.raises(ValueError, match="teacher and given tokenizer have different vocabularies.*text_columns"):
        soft_targets(other, rows, tokenizer)
    metrics = classification_metrics(["accuracy"])
    with pytest.raises(ValueError, match="different vocabularies.*give another as teacher_processing_class"):
        compare(other, same, rows, processing_class=tokenizer, compute_metrics=metrics)


def test_a_resized_table_is_not_that_of_the_tokenizer_at_its_path(tiny_bert, tokenizer, tmp_path):
    """Whose words may have been numbered anew: only the sizes are known then, and they differ."""
    tiny_bert().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    teacher = BertForSequenceClassification.from_pretrained(tmp_path)
    teacher.resize_token_embeddings(2000)
    with pytest.raises(ValueError, match="2000 entries and the student's 120"):
        check_vocabularies(ModelTeacher(teacher), tiny_bert(), tokenizer)


def test_tokens_added_since_a_model_was_loaded_are_no_difference(tiny_bert, tokenizer, tmp_path):
    tiny_bert().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    teacher = BertForSequenceClassification.from_pretrained(tmp_path)
    tokenizer.add_tokens(["[NEW]"])
    check_vocabularies(ModelTeacher(teacher), tiny_bert(), tokenizer)


@pytest.mark.parametrize("name", ["nobody/nothing", "no such folder", ""])
def test_a_name_that_leads_nowhere_is_no_obstacle(tiny_bert, tokenizer, name):
    """Offline nothing is known: the sizes decide."""
    teacher = tiny_bert()
    teacher.config.name_or_path = name
    check_vocabularies(ModelTeacher(teacher), tiny_bert(), tokenizer)
    wider = tiny_bert(vocab_size=128)
    wider.config.name_or_path = name
    with pytest.raises(ValueError, match="128 entries"):
        check_vocabularies(ModelTeacher(wider), tiny_bert(), tokenizer)


# ---- Token ids that a model does not know ----


def test_token_ids_beyond_a_table_are_named_live(tmp_path):
    """torch ends in an IndexError that names neither row nor id."""
    rows = make_rows(8)
    ids = rows["input_ids"][:]
    ids[5] = [2, 40, 3]
    rows = rows.remove_columns(["input_ids", "attention_mask"]).add_column("input_ids", ids)
    narrow, wide = {"vocab_size": 40}, {"vocab_size": 50}
    order = {"train_sampling_strategy": "sequential"}
    for teacher, student, who in ((narrow, narrow, "student"), (narrow, wide, "teacher"), (wide, narrow, "student")):
        live_teacher = ModelTeacher(make_model(2, **teacher), make_tokenizer())
        trainer = make_trainer(tmp_path, make_model(1, **student), rows, teacher=live_teacher, **order)
        with pytest.raises(ValueError, match=rf"row 5 of the batch has the token id 40, and the {who} .* 0 to 39"):
            trainer.train()


def test_token_ids_beyond_a_table_are_named_when_stored_and_compared(tmp_path):
    """By their row in the dataset, whichever batch they were sorted into."""
    teacher, rows, tokenizer = make_model(2, vocab_size=40), make_rows(100), make_tokenizer()
    ids = rows["input_ids"][:]
    ids[77] = [2, 40, 3]
    rows = rows.remove_columns(["input_ids", "attention_mask"]).add_column("input_ids", ids)
    with pytest.raises(
        ValueError, match="row 77 has the token id 40, and the teacher has embeddings for the ids 0 to 39"
    ):
        soft_targets(teacher, rows, tokenizer)
    metrics = classification_metrics(["accuracy"])
    with pytest.raises(ValueError, match="row 77 has the token id 40"):
        compare(teacher, teacher, rows, processing_class=tokenizer, compute_metrics=metrics)
    with pytest.raises(ValueError, match="row 0 of the batch has the token id -1"):
        check_token_ids(torch.tensor([[-1, 2]]), 37, "teacher")


def test_a_translators_token_ids_are_named(tmp_path):
    rows = make_pairs(8)
    ids = rows["input_ids"][:]
    ids[3] = [VOCABULARY + 3]
    rows = rows.remove_columns(["input_ids", "attention_mask"]).add_column("input_ids", ids)
    student, teacher = make_seq2seq("marian", 1), make_seq2seq("marian", 2)
    trainer = make_seq2seq_trainer(tmp_path, student, rows, teacher=teacher, given={"eval_dataset": rows})
    with pytest.raises(ValueError, match="row 3 of the batch has the token id"):
        trainer.evaluate()


def test_a_teacher_that_reads_no_shared_ids_may_have_any_vocabulary(tiny_bert, tokenizer, other_tokenizer):
    """The way out that the refusal names must be open."""
    check_vocabularies(ModelTeacher(tiny_bert(vocab_size=80), other_tokenizer, ["sentence"]), tiny_bert(), tokenizer)
    check_vocabularies(StoredTeacher(), tiny_bert(), tokenizer)
