"""A tagger with a tokenizer of its own: its logits of a word stand at the student's first token of it."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import WORDS, make_args, make_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from hfdistill import DistillationTrainer, ModelTeacher, soft_targets
from hfdistill.models.words import tokenize_words

NAMES = {0: "O", 1: "B-x", 2: "I-x"}
SENTENCES = [["w1", "w22", "w3"], ["w30", "w31"], ["w5", "\u200b", "w12", "w7"]]


def letters():
    """A tokenizer that makes several tokens of a word, and none of a zero-width space."""
    vocabulary = {letter: number for number, letter in enumerate(["[PAD]", "[UNK]", "w", *"0123456789"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.normalizer = None
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    )


def tagger(seed, size):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = BertConfig(vocab_size=size, max_position_embeddings=32, initializer_range=0.4, id2label=NAMES, **sizes)
    return BertForTokenClassification(config).eval()


def rows_for(tokenizer, labels=0, max_length=32):
    encoding = tokenize_words(tokenizer, SENTENCES, max_length)
    rows = [[labels if first else -100 for first in mask] for mask in encoding["item_mask"]]
    return Dataset.from_dict({"tokens": SENTENCES, **encoding, "labels": rows})


def test_the_logits_of_a_word_stand_at_its_first_token(tmp_path):
    """The teacher reads letters and the student words, and the other way round."""
    for own, students in ((letters(), make_tokenizer()), (make_tokenizer(), letters())):
        teacher = tagger(7, max(own.get_vocab().values()) + 1)
        rows = rows_for(students)
        stored = soft_targets(teacher, rows, own, text_columns=["tokens"], store=tmp_path / str(len(own)))
        for row, words in zip(stored, SENTENCES, strict=True):
            read = tokenize_words(own, [words], 32)
            with torch.no_grad():
                logits = teacher(input_ids=torch.tensor(read["input_ids"])).logits[0]
            expected = logits[torch.tensor(read["item_mask"][0])]
            mask = np.array(row["item_mask"])
            found = np.array(row["teacher_logits"])
            assert len(expected) == len(words) == mask.sum() and len(found) == len(row["input_ids"])
            assert np.allclose(found[mask], expected, atol=1e-5) and not found[~mask].any()


def test_a_student_learns_from_it(tmp_path):
    own, students = letters(), make_tokenizer()
    rows = rows_for(students, labels=-100)
    stored = soft_targets(tagger(7, 13), rows, own, text_columns=["tokens"], store=tmp_path / "store")
    trainer = DistillationTrainer(
        tagger(1, len(WORDS)), make_args(tmp_path, temperature=1.0), train_dataset=stored, eval_dataset=stored,
        processing_class=students,
    )  # fmt: skip
    losses = []
    for row in stored:
        with torch.no_grad():
            q = trainer.model.cpu()(input_ids=torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
        p = torch.tensor(row["teacher_logits"]).log_softmax(-1)
        losses += ((p.exp() * (p - q)).sum(-1))[torch.tensor(row["item_mask"])].tolist()
    assert trainer.evaluate()["eval_soft_target_loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_what_cannot_be_aligned_is_refused(tmp_path):
    own, students = letters(), make_tokenizer()
    rows, teacher = rows_for(students), tagger(7, 13)
    with pytest.raises(ValueError, match="the rows lack the student's tokens with a column item_mask"):
        soft_targets(teacher, rows.remove_columns("item_mask"), own, text_columns=["tokens"], store=tmp_path / "a")
    own.model_max_length = 6
    with pytest.raises(ValueError, match="row 2 has 4 words for the student, and the teacher, .* on 3 of them"):
        soft_targets(teacher, rows, own, text_columns=["tokens"], store=tmp_path / "b")
    with pytest.raises(ValueError, match="reads lists of words, and the column text holds texts"):
        texts = rows.add_column("text", ["a", "b", "c"])
        soft_targets(teacher, texts, own, text_columns=["text"], store=tmp_path / "c")
    with pytest.raises(ValueError, match="make its soft targets first, with soft_targets"):
        DistillationTrainer(
            tagger(1, len(WORDS)), make_args(tmp_path), teacher=ModelTeacher(teacher, letters(), ["tokens"]),
            train_dataset=rows, processing_class=students,
        )  # fmt: skip
