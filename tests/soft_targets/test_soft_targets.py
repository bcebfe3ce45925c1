"""Soft targets made once: the teacher's own predictions, row by row, however the rows are put together."""

import random
import sys

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets, load_from_disk
from plain_answers import TEXT, assert_same, count_rows, plain_logits
from transformers import BertForMaskedLM, RobertaConfig, RobertaForSequenceClassification

from hfdistill import DistillationTrainer, DistillationTrainingArguments, ModelTeacher, StaleSoftTargets, soft_targets
from hfdistill.models import fingerprints
from hfdistill.soft_targets import store as store_module


@pytest.fixture
def teacher(tiny_bert):
    """A random BERT of three classes."""
    return tiny_bert()


@pytest.fixture
def tokenized(text_dataset, tokenizer):
    """The text dataset with the teacher's token ids."""
    return text_dataset.map(lambda rows: tokenizer(rows["sentence"]), batched=True)


# ---- The right answer for every row ----


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_every_row_gets_its_own_logits(teacher, tokenizer, text_dataset, batch_size):
    """Rows are sorted by length and padded together: a prediction could go to a neighbor, or depend on the padding."""
    result = soft_targets(teacher, text_dataset, tokenizer, **TEXT, batch_size=batch_size)
    expected = plain_logits(teacher, tokenizer, text_dataset["sentence"])
    assert_same(result, expected)
    assert np.unique(expected.round(3), axis=0).shape == expected.shape  # a canary: no two rows look alike
    assert result["teacher_label"] == expected.argmax(1).tolist()
    assert result.remove_columns(["teacher_logits", "teacher_label"])[:] == text_dataset[:]


def test_a_pair_of_texts(teacher, tokenizer, text_dataset):
    """A second text without its token types, or swapped with the first, still gives a prediction."""
    pairs = text_dataset.add_column("reply", text_dataset["sentence"][::-1])
    result = soft_targets(teacher, pairs, tokenizer, text_columns=["sentence", "reply"])
    expected = plain_logits(teacher, tokenizer, pairs["sentence"], pairs["reply"])
    assert_same(result, expected)
    swapped = plain_logits(teacher, tokenizer, pairs["reply"], pairs["sentence"])
    assert np.abs(expected - swapped).max() > 0.1  # a canary: the order matters


@pytest.mark.parametrize("padding", [False, "max_length"])
@pytest.mark.parametrize("form", [None, "torch", "numpy"])
def test_token_ids_are_read_without_their_padding(teacher, tokenizer, text_dataset, padding, form):
    """Padding that counts as text changes the key of a row, and without a mask also its prediction."""
    forwarded = count_rows(teacher)
    expected = plain_logits(teacher, tokenizer, text_dataset["sentence"])
    forwarded.clear()
    encode = {"padding": padding, "max_length": 40, "truncation": True}
    tokens = text_dataset.map(lambda rows: tokenizer(rows["sentence"], **encode), batched=True)
    assert_same(soft_targets(teacher, tokens.with_format(form), tokenizer), expected)
    assert_same(soft_targets(teacher, text_dataset, tokenizer, **TEXT), expected)
    assert sum(forwarded) == len(text_dataset)  # the text is known by its tokens


def test_each_distinct_text_is_forwarded_once(teacher, tokenizer, text_dataset):
    """Duplicates cost a forward pass each, or one of them is left without a prediction."""
    rows = random.Random(1).choices(range(9), k=40)
    repeated = text_dataset.select(rows)
    expected = plain_logits(teacher, tokenizer, repeated["sentence"])
    forwarded = count_rows(teacher)
    assert_same(soft_targets(teacher, repeated, tokenizer, **TEXT, batch_size=4), expected)
    assert sum(forwarded) == len(set(rows))


def test_a_dict_of_splits_shares_the_logits(teacher, tokenizer, text_dataset):
    """A split could be left out, or get the rows of the first."""
    splits = DatasetDict(train=text_dataset.select(range(20)), validation=text_dataset.select(range(15, 30)))
    expected = {name: plain_logits(teacher, tokenizer, split["sentence"]) for name, split in splits.items()}
    forwarded = count_rows(teacher)
    result = soft_targets(teacher, splits, tokenizer, **TEXT)
    assert isinstance(result, DatasetDict)
    for name in splits:
        assert_same(result[name], expected[name])
    assert sum(forwarded) == 30


def test_longer_texts_are_cut_and_counted(tiny_bert, tokenizer, text_dataset, tokenized, caplog):
    """A text longer than the teacher's positions crashes it, or is cut without a word; the last [SEP] stays."""
    teacher = tiny_bert(max_position_embeddings=8)
    expected = plain_logits(teacher, tokenizer, text_dataset["sentence"], truncation=True, max_length=8)
    longer = sum(len(ids) > 8 for ids in tokenized["input_ids"])
    assert 0 < longer < 30
    for dataset, columns in [(text_dataset, ["sentence"]), (tokenized, None)]:
        caplog.clear()
        assert_same(soft_targets(teacher, dataset, tokenizer, text_columns=columns), expected)
        assert f"{longer} of 30 rows are longer than the teacher's 8 tokens" in caplog.text


def test_roberta_reads_fewer_tokens_than_it_has_positions(tokenizer, text_dataset):
    """Its positions begin after the padding index: the last two texts that seem to fit would crash it."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = RobertaConfig(vocab_size=120, num_labels=3, max_position_embeddings=10, pad_token_id=0, **sizes)
    teacher = RobertaForSequenceClassification(config).eval()
    result = soft_targets(teacher, text_dataset, tokenizer, **TEXT)
    settings = {"truncation": True, "max_length": 9, "return_token_type_ids": False}
    assert_same(result, plain_logits(teacher, tokenizer, text_dataset["sentence"], **settings))


# ---- Streams ----


@pytest.mark.parametrize("window", [8, 1024])
def test_a_streamed_dataset(teacher, tokenizer, text_dataset, window, monkeypatch):
    """Rows are sorted within a window: at its edges they could meet another window's predictions."""
    monkeypatch.setattr(sys.modules["hfdistill.soft_targets.dataset"], "STREAM_WINDOW", window)
    expected = plain_logits(teacher, tokenizer, text_dataset["sentence"])
    forwarded = count_rows(teacher)
    stream = soft_targets(teacher, text_dataset.to_iterable_dataset(), tokenizer, **TEXT, batch_size=4)
    assert not forwarded  # nothing before a row is taken
    assert list(stream.features) == ["sentence", "label", "teacher_logits", "teacher_label"]
    for _ in range(2):  # the second epoch asks nothing
        rows = list(stream)
        assert_same({"teacher_logits": [row["teacher_logits"] for row in rows]}, expected)
        assert [row["sentence"] for row in rows] == list(text_dataset["sentence"])
        assert sum(forwarded) == 30


def test_a_stream_trains_a_student(teacher, tiny_bert, tokenizer, tokenized, tmp_path):
    """A stream does not know its columns before its first row: the trainer could drop `teacher_logits` unseen."""
    stored = soft_targets(teacher, tokenized, tokenizer).remove_columns("sentence")
    stream = soft_targets(teacher, tokenized.to_iterable_dataset(), tokenizer)
    blind = stream.map(lambda row: row)
    assert blind.column_names is None
    runs = [train(tiny_bert(seed=1), None, data, tokenizer, tmp_path, max_steps=3) for data in (stored, stream, blind)]
    for losses in runs[1:]:
        np.testing.assert_allclose(losses, runs[0], atol=1e-5)


# ---- Through the trainer ----


class _InOrder(DistillationTrainer):
    """Rows as they come: what is compared is where they go, not how they are shuffled."""

    def _get_train_sampler(self, *_):
        return None


def train(student, teacher, dataset, tokenizer, folder, **settings):
    """The losses of a short training, step by step."""
    settings = {"num_train_epochs": 1, "learning_rate": 1e-2, "per_device_train_batch_size": 5, **settings}
    quiet = {"report_to": [], "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    args = DistillationTrainingArguments(str(folder), **quiet, **settings)
    trainer = _InOrder(model=student, teacher=teacher, args=args, train_dataset=dataset, processing_class=tokenizer)
    trainer.train()
    return [[log["soft_target_loss"], log["grad_norm"]] for log in trainer.state.log_history if "grad_norm" in log]


def test_rearranged_rows_keep_their_own_soft_targets(teacher, tiny_bert, tokenizer, tokenized, tmp_path):
    """The classical misalignment: logits by position, and rows that were shuffled, filtered and put together since."""
    stored = soft_targets(teacher, tokenized, tokenizer)
    first, second = stored.select(range(18)).shuffle(seed=3), stored.select(range(12, 30)).shuffle(seed=4)
    rows = concatenate_datasets([first, second]).filter(lambda row: "dull" not in row["sentence"]).shuffle(seed=5)
    live = rows.remove_columns("teacher_logits")
    losses = train(tiny_bert(seed=1), None, rows, tokenizer, tmp_path)
    assert len(losses) == -(-len(rows) // 5)
    np.testing.assert_allclose(
        losses, train(tiny_bert(seed=1), teacher, live, tokenizer, tmp_path), rtol=1e-5, atol=1e-5
    )
    # A canary: with another row's predictions it is another training.
    column = list(rows["teacher_logits"])
    shifted = rows.remove_columns("teacher_logits").add_column("teacher_logits", column[1:] + column[:1])
    assert np.abs(np.subtract(train(tiny_bert(seed=1), None, shifted, tokenizer, tmp_path), losses)).max() > 1e-2


# ---- Kept, and found again ----


def test_a_second_call_forwards_only_what_is_new(teacher, tokenizer, text_dataset):
    """Recomputing costs hours; an edited text must not get the logits of the old one."""
    soft_targets(teacher, text_dataset.shuffle(seed=9), tokenizer, **TEXT)
    edited = text_dataset.map(lambda row, index: {"sentence": row["sentence"] + " " * index}, with_indices=True)
    expected = plain_logits(teacher, tokenizer, text_dataset["sentence"])
    forwarded = count_rows(teacher)
    for dataset in (text_dataset, text_dataset, edited):  # what the tokenizer drops is no change
        assert_same(soft_targets(teacher, dataset, tokenizer, **TEXT, batch_size=3), expected)
    assert not forwarded
    edited = text_dataset.map(lambda row, index: {"sentence": row["sentence"] + "!" * (index < 4)}, with_indices=True)
    result = soft_targets(teacher, edited, tokenizer, **TEXT)
    assert sum(forwarded) == 4
    assert_same(result, plain_logits(teacher, tokenizer, edited["sentence"]))


def fine_tuned(teacher, tokenizer):
    teacher.classifier.bias.data += 1
    return teacher, tokenizer


def cast(teacher, tokenizer):
    return teacher.bfloat16(), tokenizer


def retokenized(teacher, tokenizer):
    tokenizer.add_tokens(["joyous"])
    return teacher, tokenizer


def shorter(teacher, tokenizer):
    tokenizer.model_max_length = 9
    return teacher, tokenizer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (fine_tuned, r"teacher weights \("),
        (cast, r"teacher dtype \(torch.float32 there, torch.bfloat16 now\)"),
        (retokenized, r"tokenizer \("),
        (shorter, r"max_length \(64 there, 9 now\)"),
    ],
)
def test_what_depends_on_another_teacher_is_refused(teacher, tokenizer, text_dataset, tmp_path, change, message):
    """Yesterday's predictions under today's teacher: a named folder refuses, the default one is simply another."""
    soft_targets(teacher, text_dataset, tokenizer, **TEXT, store=tmp_path)
    soft_targets(teacher, text_dataset, tokenizer, **TEXT)
    teacher, tokenizer = change(teacher, tokenizer)
    with pytest.raises(StaleSoftTargets, match=message):
        soft_targets(teacher, text_dataset, tokenizer, **TEXT, store=tmp_path)
    result = soft_targets(teacher, text_dataset, tokenizer, **TEXT)
    expected = plain_logits(teacher, tokenizer, text_dataset["sentence"], truncation=True)
    np.testing.assert_allclose(np.array(result["teacher_logits"]), expected, atol=0.1 if change is cast else 1e-5)


def test_rows_of_a_damaged_part_are_recomputed(teacher, tokenizer, text_dataset, tmp_path, caplog):
    """A damaged file would end every later run with a traceback about zip files."""
    expected = soft_targets(teacher, text_dataset, tokenizer, **TEXT, store=tmp_path)
    (part,) = tmp_path.glob("part-*.npz")
    part.write_bytes(part.read_bytes()[:-100])
    forwarded = count_rows(teacher)
    for _ in range(2):
        result = soft_targets(teacher, text_dataset, tokenizer, **TEXT, store=tmp_path)
        assert result["teacher_logits"][:] == expected["teacher_logits"][:]
    assert sum(forwarded) == 30
    assert f"{part} is damaged" in caplog.text


def test_the_result_is_a_plain_dataset(teacher, tokenizer, text_dataset, tmp_path):
    """Ragged or float64 logits would survive in memory and fail, or double, once saved or pushed."""
    result = soft_targets(teacher, text_dataset, tokenizer, **TEXT)
    feature = result.features["teacher_logits"]
    assert (feature.length, feature.feature.dtype) == (3, "float32")
    result.save_to_disk(tmp_path / "saved")
    result.to_parquet(tmp_path / "pushed.parquet")  # what push_to_hub uploads
    for again in (load_from_disk(tmp_path / "saved"), Dataset.from_parquet(str(tmp_path / "pushed.parquet"))):
        assert again.features == result.features
        assert again[:] == result[:]


def test_rows_say_in_which_order_their_soft_targets_stand(teacher, tokenizer, text_dataset, tmp_path):
    """Later nobody knows, and a student of another order would learn other labels."""
    named(teacher, "good", "bad", "fair")
    rows = text_dataset.remove_columns("label")
    result = soft_targets(teacher, rows, tokenizer, **TEXT, label_names=["fair", "good", "bad"])
    expected = plain_logits(teacher, tokenizer, rows["sentence"])
    likeliest = [["good", "bad", "fair"][label] for label in expected.argmax(1)]
    changed = result.shuffle(seed=1).filter(lambda row: len(row["sentence"]) % 2).map(lambda row: row)
    changed.to_parquet(tmp_path / "kept.parquet")
    for again in (result, changed, Dataset.from_parquet(str(tmp_path / "kept.parquet"))):
        kind = again.features["teacher_label"]
        assert kind == ClassLabel(names=["fair", "good", "bad"]) and again.num_rows > 5
        for row in again:
            assert kind.int2str(row["teacher_label"]) == likeliest[rows["sentence"][:].index(row["sentence"])]
    unnamed = soft_targets(named(teacher, "LABEL_0", "LABEL_1", "LABEL_2"), result, tokenizer, **TEXT)
    assert "teacher_label" not in unnamed.column_names


def test_several_teachers_likeliest_label_is_that_of_their_mean(teacher, tiny_bert, tokenizer, text_dataset):
    """One of them would speak for all, or each for itself."""
    both = [teacher, tiny_bert(seed=1)]
    expected = np.mean([plain_logits(one, tokenizer, text_dataset["sentence"]) for one in both], axis=0).argmax(1)
    for dataset in (text_dataset, text_dataset.to_iterable_dataset()):
        rows = list(soft_targets(both, dataset, tokenizer, **TEXT))
        assert [row["teacher_label"] for row in rows] == expected.tolist()


def test_names_that_a_file_lost_are_warned_of(teacher, tiny_bert, tokenizer, tokenized, tmp_path, caplog):
    """JSON keeps the numbers of classes alone: that nothing is compared would be seen by nobody."""
    unlabeled = tokenized.remove_columns("label")

    def first_loss(teacher, rows):
        student = named(tiny_bert(seed=1), "bad", "fair", "good")
        return train(student, teacher, rows, tokenizer, tmp_path, max_steps=1)[0][0]

    soft_targets(named(teacher, "good", "bad", "fair"), unlabeled, tokenizer).to_json(tmp_path / "rows.jsonl")
    again = Dataset.from_json(str(tmp_path / "rows.jsonl"))
    taken_to_be_in_order = first_loss(None, again)
    assert "The column teacher_label has lost its names" in caplog.text
    caplog.clear()
    renamed = again.cast_column("teacher_label", ClassLabel(names=["good", "bad", "fair"]))  # as it says to do
    expected = first_loss(teacher, unlabeled)
    assert first_loss(None, renamed) == pytest.approx(expected, rel=1e-4) != taken_to_be_in_order
    assert "lost its names" not in caplog.text


def test_a_second_teacher_replaces_the_column(teacher, tiny_bert, tokenizer, text_dataset):
    """The first teacher's column would be kept, or refused as a duplicate."""
    second = tiny_bert(seed=5)
    result = soft_targets(second, soft_targets(teacher, text_dataset, tokenizer, **TEXT), tokenizer, **TEXT)
    assert_same(result, plain_logits(second, tokenizer, text_dataset["sentence"]))


# ---- Labels ----


def named(model, *names):
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: index for index, name in enumerate(names)}
    return model


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("by", ["ClassLabel", "label_names"])
def test_labels_are_put_into_the_students_order(teacher, tokenizer, text_dataset, by, stream):
    """Another order of the same labels trains a student that is confidently wrong."""
    named(teacher, "Good", "Bad", "Fair")
    expected = plain_logits(teacher, tokenizer, text_dataset["sentence"])[:, [1, 2, 0]]
    names = ["bad", "fair", "good"] if by == "label_names" else None
    dataset = text_dataset.remove_columns("label") if names else text_dataset
    dataset = dataset.to_iterable_dataset() if stream else dataset
    rows = list(soft_targets(teacher, dataset, tokenizer, **TEXT, label_names=names))
    assert_same({"teacher_logits": [row["teacher_logits"] for row in rows]}, expected)


def test_the_store_keeps_no_order_of_labels(teacher, tokenizer, text_dataset):
    """Predictions kept in one student's order would be permuted twice for the next."""
    named(teacher, "good", "bad", "fair")
    plain = plain_logits(teacher, tokenizer, text_dataset["sentence"])
    unlabeled = text_dataset.remove_columns("label")
    for names, order in [(["bad", "fair", "good"], [1, 2, 0]), (["fair", "good", "bad"], [2, 0, 1]), (None, [0, 1, 2])]:
        result = soft_targets(teacher, unlabeled, tokenizer, **TEXT, label_names=names)
        assert_same(result, plain[:, order])


def test_other_labels_are_refused(teacher, tokenizer, text_dataset):
    named(teacher, "joy", "anger", "fear")
    with pytest.raises(ValueError, match="joy, anger, fear against bad, fair, good"):
        soft_targets(teacher, text_dataset, tokenizer, **TEXT)
    bilingual = text_dataset.rename_column("label", "language").cast_column("language", ClassLabel(num_classes=4))
    soft_targets(teacher, bilingual, tokenizer, **TEXT)  # what is no label names none
    two = text_dataset.cast_column("label", ClassLabel(names=["bad", "fair", "good", "best"]))
    with pytest.raises(ValueError, match="3 labels and the student 4"):
        soft_targets(teacher, two, tokenizer, **TEXT)


# ---- Clear refusals ----


def test_logits_that_are_not_finite_name_row_and_text(teacher, tokenizer, text_dataset, tmp_path):
    """NaN soft targets turn the student's weights into NaN hours later."""
    word = tokenizer.convert_tokens_to_ids("novel")
    row = next(index for index, text in enumerate(text_dataset["sentence"]) if "novel" in text)
    text_dataset = text_dataset.select([r for r in range(30) if r == row or "novel" not in text_dataset[r]["sentence"]])
    row = next(index for index, text in enumerate(text_dataset["sentence"]) if "novel" in text)
    teacher.bert.embeddings.word_embeddings.weight.data[word] = float("nan")
    with pytest.raises(ValueError, match=rf"row {row} \('her second novel [a-z ]+'\) are not finite: \[nan"):
        soft_targets(teacher, text_dataset, tokenizer, **TEXT, store=tmp_path)
    assert not list(tmp_path.glob("part-*"))


def test_logits_of_another_shape_are_refused_at_once(teacher, tokenizer, tokenized):
    """The whole set would be run on before a column of such predictions cannot be made."""
    teacher.classifier = torch.nn.Linear(teacher.config.hidden_size, 5)
    forwarded = count_rows(teacher)
    with pytest.raises(ValueError, match=r"logits of shape \(4, 3\) .* of 3 labels gives \(4, 5\)"):
        soft_targets(teacher, tokenized, tokenizer, batch_size=4)
    assert forwarded == [4]
    with pytest.raises(ValueError, match="decides a token of the vocabulary at each token, and soft targets of whole"):
        soft_targets(BertForMaskedLM(teacher.config), tokenized, tokenizer)


def test_what_is_missing_is_named(teacher, tokenizer, text_dataset):
    """Each of these ends in a KeyError from deep below."""
    with pytest.raises(ValueError, match="needs the teacher's tokenizer: pass processing_class"):
        soft_targets(teacher, text_dataset)
    with pytest.raises(ValueError, match="columns input_ids, which the dataset lacks; it has sentence, label"):
        soft_targets(teacher, text_dataset, tokenizer)
    with pytest.raises(ValueError, match="columns headline, which the dataset lacks; it has sentence, label"):
        soft_targets(teacher, text_dataset, tokenizer, text_columns=["headline", "sentence"])
    with pytest.raises(ValueError, match="columns headline, which the dataset lacks; it has sentence, label"):
        next(iter(soft_targets(teacher, text_dataset.to_iterable_dataset(), tokenizer, text_columns=["headline"])))


def test_dtype_is_the_teachers_own_or_the_given_one(teacher, tokenizer, text_dataset):
    """A `ModelTeacher` would keep its own dtype, silently, when another is asked for."""
    expected = plain_logits(teacher, tokenizer, text_dataset["sentence"])
    model_teacher = ModelTeacher(teacher, tokenizer, ["sentence"])
    assert_same(soft_targets(model_teacher, text_dataset), expected)
    rough = np.array(soft_targets(model_teacher, text_dataset, dtype="bfloat16")["teacher_logits"][:])
    assert teacher.dtype == torch.bfloat16
    assert 1e-4 < np.abs(rough - expected).max() < 0.5


def test_no_autocast_of_an_earlier_training_stays(teacher, tiny_bert, tokenizer, tokenized, tmp_path):
    """The autocast of an earlier training stays around `forward`, and its rough predictions would be kept as exact."""
    expected = plain_logits(teacher, tokenizer, tokenized["sentence"])
    train(tiny_bert(seed=1), teacher, tokenized, tokenizer, tmp_path, bf16=True, max_steps=1)
    assert_same(soft_targets(teacher, tokenized, tokenizer), expected)


@pytest.mark.parametrize("given", [True, False], ids=["a folder of the user's", "one named by its contents"])
def test_what_was_kept_when_weights_were_hashed_otherwise_is_found(
    teacher, tokenizer, text_dataset, tmp_path, monkeypatch, given
):
    """By BLAKE2, before 0.2: a release must not throw hours of a teacher's work away."""
    monkeypatch.setattr(store_module, "HF_HOME", str(tmp_path))
    kept = {"store": tmp_path / "kept"} if given else {}
    with monkeypatch.context() as before:
        before.setattr(fingerprints.WeightsHash, "of", lambda model: fingerprints.hash_of_tensors(model.state_dict()))
        expected = soft_targets(teacher, text_dataset, tokenizer, **TEXT, **kept)["teacher_logits"]
    parts = sorted(tmp_path.rglob("part-*"))
    found = soft_targets(teacher, text_dataset, tokenizer, **TEXT, **kept)["teacher_logits"]
    assert list(found) == list(expected) and sorted(tmp_path.rglob("part-*")) == parts
    with torch.no_grad():
        teacher.classifier.bias += 1
    if given:
        with pytest.raises(StaleSoftTargets, match="teacher weights"):
            soft_targets(teacher, text_dataset, tokenizer, **TEXT, **kept)
