"""Token soft targets made once: every target token its own answer, however the rows are put together and cut."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, concatenate_datasets, load_from_disk
from plain_answers import count_rows
from tiny import IN_ORDER, assert_logs_alike, distance, logs_of, make_tokenizer, weights
from tiny_seq2seq import (
    FAMILIES,
    VOCABULARY,
    compute_few_at_once,
    make_pairs,
    make_seq2seq,
    make_seq2seq_trainer,
    token_logits,
)
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from hfdistill import Seq2SeqTeacher, StaleSoftTargets, soft_targets, token_soft_targets
from hfdistill.soft_targets.packing import unpack_row

COLUMN = "teacher_tokens"
NAMES = ("loss", "label_loss", "soft_target_loss", "grad_norm")
SCRIPT = Path(__file__).parents[1] / "scripts" / "make_token_soft_targets.py"


def made(teacher, rows, **settings):
    return token_soft_targets(teacher, rows, make_tokenizer(), **{"k": 6, "method": "top_k", **settings})


def probabilities(packed):
    """A dense array of what a row of `top_k` says, by token."""
    made, entries, _ = unpack_row(packed)
    dense = np.zeros((len(entries.sizes), made.classes))
    np.put_along_axis(dense, entries.ids.reshape(-1, made.k), np.exp(entries.weights.reshape(-1, made.k)), axis=1)
    return dense


def train(out, rows, teacher=None, seed=1, **changes):
    trainer = make_seq2seq_trainer(out, make_seq2seq(seed=seed), rows, teacher=teacher, **IN_ORDER, **changes)
    trainer.train()
    return trainer


def assert_alike(one, another, rel=1e-5, far=2e-6):
    assert_logs_alike(one, another, *NAMES, rel=rel)
    assert distance(weights(one.model), weights(another.model)) < far


# ---- The right answer for every token ----


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_token_gets_its_own_distribution(monkeypatch, family, batch_size):
    """Sorted by length, padded together and computed in chunks, a prediction could go to a neighbor."""
    compute_few_at_once(monkeypatch)
    teacher, rows = make_seq2seq(family, 2), make_pairs(12, family)
    stored = made(teacher, rows, k=VOCABULARY, batch_size=batch_size)
    for row in stored:
        expected = (token_logits(teacher, family, row) / 2.0).softmax(-1)
        np.testing.assert_allclose(probabilities(row[COLUMN]), expected, atol=2e-3)
    assert stored.remove_columns(COLUMN)[:] == rows[:]


def test_soft_targets_do_not_depend_on_the_padding_side():
    """Padding on the left shifted the texts' positions, each by what else was in its batch."""
    tokenizer, rows = make_tokenizer(), make_pairs(12)
    tokenizer.padding_side = "left"
    predictions = [
        token_soft_targets(make_seq2seq(seed=2), rows, tokenizer, k=6, method="top_k", batch_size=size)[COLUMN][:]
        for size in (1, 8)
    ]
    assert predictions[0] == predictions[1]


@pytest.mark.parametrize("method", ["top_k", "sampled"])
def test_training_with_the_whole_distribution_is_training_with_the_teacher(tmp_path, method):
    """Nothing is missing, so nothing may differ but rounding: to float16, or to 1/60000."""
    rows, teacher = make_pairs(12), make_seq2seq(seed=2)
    stored = made(teacher, rows, method=method, k=VOCABULARY if method == "top_k" else 60_000)
    runs = [train(tmp_path, stored), train(tmp_path, rows, teacher)]
    assert_alike(*runs, rel=1e-3, far=1e-3)
    assert distance(weights(make_seq2seq(seed=1)), weights(runs[0].model)) > 0.03
    metrics = [run.evaluate(data) for run, data in zip(runs, (stored, rows), strict=True)]
    names = ("eval_loss", "eval_soft_target_loss")
    assert [metrics[0][name] for name in names] == pytest.approx([metrics[1][name] for name in names], rel=1e-3)
    assert "eval_agreement" not in metrics[0]


def test_rearranged_rows_keep_their_own_soft_targets(tmp_path):
    """The classical misalignment: predictions by position, and rows that were shuffled and filtered since."""
    rows, teacher = make_pairs(20), make_seq2seq(seed=2)
    first, second = (make_pairs(10).select(range(4)), rows.shuffle(seed=3))
    together = concatenate_datasets([made(teacher, first), made(teacher, second)])
    rearranged = together.filter(lambda row: len(row["labels"]) > 2).shuffle(seed=5)
    again = made(teacher, rearranged.remove_columns(COLUMN))
    assert again[COLUMN][:] == rearranged[COLUMN][:]
    assert len(set(rearranged[COLUMN][:])) > 15
    run = train(tmp_path, rearranged)
    assert logs_of(run, *NAMES)


def test_labels_of_minus_100_are_no_tokens(tmp_path):
    """Padding, holes and rows without a target carry nothing, and the tokens after a hole keep their own."""
    rows, teacher = make_pairs(8), make_seq2seq(seed=2)
    holed = [[*ids[:1], -100, *ids[1:]] for ids in rows["labels"]]
    holed[3] = [-100] * len(holed[3])
    padded = [[*ids, *[-100] * (12 - len(ids))] for ids in holed]
    mask = [[1] * len(ids) for ids in rows["input_ids"]]
    source = {"input_ids": rows["input_ids"][:], "attention_mask": mask}
    plain, wide = (Dataset.from_dict({**source, "labels": labels}) for labels in (holed, padded))
    stored = made(teacher, plain, k=VOCABULARY)
    assert made(teacher, wide, k=VOCABULARY)[COLUMN][:] == stored[COLUMN][:]
    runs = [train(tmp_path, stored), train(tmp_path, plain, teacher), train(tmp_path, stored, pad_to=16)]
    assert_alike(runs[0], runs[1], rel=1e-3, far=1e-3)
    assert_alike(runs[0], runs[2])


@pytest.mark.parametrize("method", ["top_k", "sampled"])
@pytest.mark.parametrize("count", [16, 11])
def test_any_cut_gives_one_run(tmp_path, method, count):
    """Predictions of unequal sizes, padded to the longest of a micro-batch, must weigh no token more or less."""
    rows = made(make_seq2seq(seed=2), make_pairs(count), method=method)
    whole = train(tmp_path, rows)
    for layout in ({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}, {"pad_to": 16}):
        assert_alike(train(tmp_path, rows, **layout), whole)


def test_chunked_and_whole_loss_train_one_student(tmp_path, monkeypatch):
    """The loss that holds few logits must be the loss that holds all of them."""
    rows = made(make_seq2seq(seed=2), make_pairs(8))
    student = make_seq2seq(seed=1)
    whole = make_seq2seq_trainer(tmp_path, student, rows, **IN_ORDER)
    whole._projects_plainly = False
    whole.train()
    compute_few_at_once(monkeypatch)
    parts = train(tmp_path, rows)
    assert parts._projects_plainly is True
    assert_alike(parts, whole)


def test_a_teacher_that_does_more_than_project_is_run_whole():
    """Its projection alone would be another model's prediction."""

    class Doubled(type(make_seq2seq("bart"))):
        def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
            output = super().forward(input_ids, attention_mask, labels=labels, **kwargs)
            output.logits = 2 * output.logits
            return output

    rows, plain, doubled = make_pairs(4), make_seq2seq("bart", 2), make_seq2seq("bart", 2)
    doubled.__class__ = Doubled
    stored = made(doubled, rows, k=VOCABULARY)
    for row in stored:
        expected = token_logits(plain, "bart", row).softmax(-1)  # twice the logits, at temperature 2
        np.testing.assert_allclose(probabilities(row[COLUMN]), expected, atol=2e-3)


# ---- Kept, and found again ----


@pytest.mark.parametrize("method", ["top_k", "sampled"])
def test_a_second_call_forwards_only_what_is_new(tmp_path, monkeypatch, method):
    """Draws made anew, in other batches and another order, would make of a resumed run another one."""
    compute_few_at_once(monkeypatch)
    teacher, rows = make_seq2seq(seed=2), make_pairs(12)
    first = made(teacher, rows.select(range(8)), method=method, store=tmp_path)
    forwarded = count_rows(teacher)
    second = made(teacher, rows.shuffle(seed=1), method=method, store=tmp_path, batch_size=3)
    assert sum(forwarded) == 4
    again = made(teacher, rows, method=method, batch_size=2)
    assert again[COLUMN][:8] == first[COLUMN][:]
    assert sorted(again[COLUMN][:]) == sorted(second[COLUMN][:])


ANOTHER_TEACHER: dict = {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 1.0}, r"temperature \(2\.0 there, 1\.0 now\)"),
        ({"k": 5}, r"k \(6 there, 5 now\)"),
        ({"method": "sampled"}, r"method \(top_k there, sampled now\)"),
        (ANOTHER_TEACHER, r"teacher weights \("),
    ],
)
def test_what_depends_on_other_settings_is_refused(tmp_path, change, message):
    rows = make_pairs(4)
    made(make_seq2seq(seed=2), rows, store=tmp_path)
    with pytest.raises(StaleSoftTargets, match=message):
        made(make_seq2seq(seed=3 if change == ANOTHER_TEACHER else 2), rows, store=tmp_path, **change)


def test_the_result_is_a_plain_dataset(tmp_path):
    """Bytes must survive a disk, the Hub's parquet, and formats."""
    rows = DatasetDict(train=make_pairs(6), validation=make_pairs(4, seed=1))
    result = made(make_seq2seq(seed=2), rows)
    result["train"].save_to_disk(tmp_path / "saved")
    result["train"].to_parquet(tmp_path / "pushed.parquet")
    for again in (load_from_disk(tmp_path / "saved"), Dataset.from_parquet(str(tmp_path / "pushed.parquet"))):
        assert again[:] == result["train"][:]
    replaced = made(make_seq2seq(seed=3), result)
    assert replaced["validation"][COLUMN][:] != result["validation"][COLUMN][:]
    run = train(tmp_path, result["train"].with_format("torch"), max_steps=1)
    assert logs_of(run, *NAMES) == logs_of(train(tmp_path, result["train"], max_steps=1), *NAMES)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_soft_targets(tmp_path):
    """What was finished is not recomputed, and what was not gets the prediction it would have got."""
    given = [sys.executable, str(SCRIPT), str(tmp_path / "store")]
    killed = subprocess.Popen([*given, str(tmp_path / "killed"), "--seconds-a-batch", "0.3"])
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "store").glob("part-*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed").exists()
    finished = len(list((tmp_path / "store").glob("part-*.npz")))
    subprocess.run([*given, str(tmp_path / "resumed")], check=True)
    resumed = torch.load(tmp_path / "resumed", weights_only=False)
    assert 3 <= finished <= 15 and resumed["forwarded"] == 40 - 2 * finished
    whole = made(make_seq2seq(seed=2), make_pairs(40), method="sampled", batch_size=2)
    assert resumed["rows"] == whole[COLUMN][:]


# ---- Vocabularies ----


def renamed(order):
    """The tests' tokenizer, its tokens numbered in another order."""
    tokenizer = make_tokenizer()
    names = tokenizer.convert_ids_to_tokens(range(VOCABULARY))
    words = Tokenizer(models.WordLevel({names[old]: new for new, old in enumerate(order)}, unk_token="[UNK]"))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **special)


def test_another_order_of_the_same_tokens_is_mapped():
    """The teacher must read its own ids, and its predictions be mapped to the student's."""
    rows, teacher = make_pairs(6), make_seq2seq(seed=2)
    order = [*range(4), *reversed(range(4, VOCABULARY))]  # the student's id i is the teacher's order[i]
    own = {old: new for new, old in enumerate(order)}
    another = rows.map(lambda row: {name: [own[id_] for id_ in row[name]] for name in ("input_ids", "labels")})
    mapped = token_soft_targets(
        Seq2SeqTeacher(teacher, make_tokenizer()), another, renamed(order), k=VOCABULARY, method="top_k"
    )
    plain = made(teacher, rows, k=VOCABULARY)
    for one, other in zip(mapped[COLUMN], plain[COLUMN], strict=True):
        np.testing.assert_allclose(probabilities(one), probabilities(other)[:, order], atol=1e-3)


def test_an_output_wider_than_the_tokenizer_is_padding(tmp_path):
    """T5's output is: what has no name gets no probability from the teacher, and the student learns that."""
    rows, teacher = make_pairs(6), make_seq2seq("t5", 2, vocab_size=VOCABULARY + 8)
    stored = made(teacher, rows, k=1000)
    for row in stored:
        expected = (token_logits(teacher, "t5", row)[:, :VOCABULARY] / 2.0).softmax(-1)
        np.testing.assert_allclose(probabilities(row[COLUMN]), expected, atol=2e-3)
    student = make_seq2seq("t5", 1, vocab_size=VOCABULARY + 16)
    trainer = make_seq2seq_trainer(tmp_path, student, stored, max_steps=2)
    trainer.train()
    assert all(np.isfinite(logs_of(trainer, *NAMES)).flatten())


def test_other_vocabularies_are_refused(tmp_path):
    rows, teacher = make_pairs(6), make_seq2seq(seed=2)
    other = make_tokenizer()
    other.add_tokens(["joyous"])
    with pytest.raises(ValueError, match="1 are known to one alone, such as 'joyous'"):
        token_soft_targets(Seq2SeqTeacher(teacher, make_tokenizer()), rows, other)
    with pytest.raises(ValueError, match="the teacher chooses among 40 tokens, fewer than its tokenizer's 41"):
        token_soft_targets(teacher, rows, other)
    order = [*range(4), *reversed(range(4, VOCABULARY))]
    stored = token_soft_targets(Seq2SeqTeacher(teacher, make_tokenizer()), rows, renamed(order))
    with pytest.raises(ValueError, match="are in another vocabulary than the student's"):
        train(tmp_path, stored)
    narrow = make_seq2seq(seed=1, vocab_size=30, decoder_vocab_size=30)
    with pytest.raises(ValueError, match="the student has embeddings for the ids 0 to 29"):
        make_seq2seq_trainer(tmp_path, narrow, made(teacher, rows)).train()


# ---- Clear refusals ----


def test_labels_that_changed_since_are_refused(tmp_path):
    """Cut or replaced, the labels are no longer what the predictions are about."""
    stored = made(make_seq2seq(seed=2), make_pairs(6))
    for change in (lambda ids: ids[:-1], lambda ids: ids[::-1]):
        changed = stored.map(lambda row, change=change: {"labels": change(row["labels"])})
        with pytest.raises(ValueError, match="labels are not the target tokens that its stored soft targets are about"):
            train(tmp_path, changed)


def test_rows_made_differently_do_not_mix(tmp_path):
    teacher, rows = make_seq2seq(seed=2), make_pairs(4)
    mixed = concatenate_datasets([made(teacher, rows), made(teacher, rows, method="sampled")])
    with pytest.raises(ValueError, match="of two kinds cannot share a batch: top_k with k=6 at temperature 2 of 40"):
        train(tmp_path, mixed)
    half = concatenate_datasets([made(teacher, rows), rows])
    with pytest.raises(ValueError, match="row 4 and 3 more have no teacher_tokens while others do"):
        train(tmp_path, half)


def test_another_temperature_or_divergence_is_refused(tmp_path):
    stored = made(make_seq2seq(seed=2), make_pairs(4))
    with pytest.raises(ValueError, match="are of temperature 2 and say nothing of another"):
        train(tmp_path, stored, temperature=1.0)
    with pytest.raises(ValueError, match="forward_kl and ce alone"):
        train(tmp_path, stored, divergence="reverse_kl")


def test_what_is_missing_is_named():
    teacher, rows = make_seq2seq(seed=2), make_pairs(4)
    with pytest.raises(ValueError, match="needs the tokenizer of the rows"):
        token_soft_targets(teacher, rows)
    with pytest.raises(ValueError, match="method must be one of top_k, sampled; got 'best'"):
        made(teacher, rows, method="best")
    for k in (0, 2.5, 2**16):
        with pytest.raises(ValueError, match=f"k must be a whole number from 1 to 65535; got {k}"):
            made(teacher, rows, k=k)
    with pytest.raises(ValueError, match="rows with input_ids and labels.* the columns are input_ids, attention_mask"):
        made(teacher, rows.remove_columns("labels"))
    with pytest.raises(ValueError, match="takes a Dataset or a dict of them, not a IterableDataset"):
        made(teacher, rows.to_iterable_dataset())
    with pytest.raises(ValueError, match="keep those with token_soft_targets"):
        soft_targets(teacher, rows, make_tokenizer())


def test_labels_that_the_teacher_cannot_read_name_their_row():
    """An index out of range deep within the model would name no row."""
    teacher, rows = make_seq2seq(seed=2), make_pairs(6)
    for bad, message in (([], "row 4 has no labels"), ([5] * 33, "row 4 are 33 tokens, more than the 32 positions")):
        labels = [*rows["labels"][:4], bad, rows["labels"][5]]
        with pytest.raises(ValueError, match=message):
            made(teacher, rows.remove_columns("labels").add_column("labels", labels))
    fitting = [[5] * 32 + [-100] * 8] * 6
    assert len(made(teacher, rows.remove_columns("labels").add_column("labels", fitting))) == 6


def test_a_vocabulary_for_each_side_is_refused():
    """The source's would be taken for the target's: tokens beyond it would get no probability."""
    tokenizer = make_tokenizer()
    tokenizer.separate_vocabs = True  # as in a MarianTokenizer of two
    with pytest.raises(ValueError, match="a vocabulary for each side .* pass the teacher to the trainer"):
        token_soft_targets(make_seq2seq(seed=2), make_pairs(4), tokenizer)
    with pytest.raises(ValueError, match="a vocabulary for each side"):
        token_soft_targets(Seq2SeqTeacher(make_seq2seq(seed=2), make_tokenizer()), make_pairs(4), tokenizer)


def test_logits_that_are_not_finite_name_their_row():
    """NaN soft targets turn the student's weights into NaN hours later."""
    teacher, rows = make_seq2seq("bart", seed=2), make_pairs(6)
    others = {id_ for row in rows.select([0, 1, 2, 3, 5]) for id_ in row["input_ids"]}
    word = next(id_ for id_ in rows[4]["input_ids"] if id_ not in others)
    with torch.no_grad():
        teacher.model.encoder.embed_tokens = torch.nn.Embedding.from_pretrained(teacher.model.shared.weight.clone())
        teacher.model.encoder.embed_tokens.weight[word] = float("nan")
    with pytest.raises(ValueError, match="logits for row 4 are not finite"):
        made(teacher, rows)
