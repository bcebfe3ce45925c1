"""Texts and pairs of a sentence encoder: files, translations, and pairs that the teacher rates."""

import json

import numpy as np
import pytest
from datasets import Dataset

from hfdistill import sentence_data
from hfdistill.tasks.embedding.demo import demo_sentences
from hfdistill.tasks.embedding.sources import pairs_by_teacher


def texts_file(folder, count=30):
    path = folder / "texts.txt"
    path.write_text("\n".join(f"text number {n}" for n in range(count)), encoding="utf-8")
    return path


def test_texts_of_a_file_are_set_aside_once(tmp_path):
    data = sentence_data(texts_file(tmp_path))
    train, apart = (data.dataset[name]["text"][:] for name in ("train", "validation"))
    assert (len(train), len(apart), data.pairs, data.teacher_columns) == (27, 3, None, ("text",))
    assert not {*train} & {*apart}


@pytest.mark.parametrize("names", [("text", "other"), ("sentence1", "sentence2"), ("premise", "hypothesis")])
@pytest.mark.parametrize("similarity", ["similarity", "score", "label", None])
def test_pairs_of_a_file_by_the_names_of_their_columns(tmp_path, names, similarity):
    path = tmp_path / "pairs.csv"
    header, row = [*names, *([similarity] if similarity else [])], ["a b", "c", *(["0.5"] if similarity else [])]
    path.write_text(",".join(header) + "\n" + ",".join(row) + "\n", encoding="utf-8")
    pairs = sentence_data(texts_file(tmp_path), path).pairs
    assert pairs[0] == {"text": "a b", "other": "c", **({"similarity": 0.5} if similarity else {})}


def test_translations_are_learned_and_those_set_aside_are_to_be_found(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"en": f"one {n}", "de": f"eins {n}"} for n in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = sentence_data(path, text_column="en", translation_column="de")
    assert data.translated and data.teacher_columns == ("teacher_text",)
    train = data.dataset["train"]
    assert len(train) == 36 and {*train["text"]} > {*train["teacher_text"]} and len(data.dataset["validation"]) == 4
    assert len(data.pairs) == 2 and data.pairs["other"][0] == data.pairs["text"][0].replace("one", "eins")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,label\na,1\n", "has no pairs of texts"),
        ("text,other,score\na,b,high\n", "Line 2 .*'high'; expected a sim"),
    ],
)
def test_what_is_no_pair_is_refused(tmp_path, content, said):
    path = tmp_path / "pairs.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        sentence_data(texts_file(tmp_path), path)


def test_what_is_missing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="give --train_file or --dataset_name"):
        sentence_data(translation_column="de")
    with pytest.raises(ValueError, match="no column 'de'"):
        sentence_data(texts_csv := _csv(tmp_path), translation_column="de")
    with pytest.raises(ValueError, match="too few to set some aside"):
        sentence_data(texts_csv, translation_column="other")


def _csv(folder):
    path = folder / "few.csv"
    path.write_text("text,other\na,b\n", encoding="utf-8")
    return path


def test_pairs_that_the_teacher_rates_have_its_cosine():
    vectors = np.random.default_rng(0).normal(size=(8, 5))
    rows = Dataset.from_dict({"text": [f"t{n}" for n in range(8)], "teacher_logits": vectors.tolist()})
    pairs = pairs_by_teacher(rows)
    assert len(pairs) == 16 and all(row["text"] != row["other"] for row in pairs)
    for place, row in enumerate(pairs):
        one, other = (vectors[int(row[name][1:])] for name in ("text", "other"))
        cosines = [one @ v / np.linalg.norm(one) / np.linalg.norm(v) for v in vectors if not np.array_equal(v, one)]
        assert row["similarity"] == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-6)
        if place < 8:
            assert row["similarity"] == pytest.approx(max(cosines), abs=1e-6)
    with pytest.raises(ValueError, match="1 texts make no pairs"):
        pairs_by_teacher(rows.select([0]))


def test_vectors_of_the_demo_say_what_its_similarities_say():
    """Without noise the cosine of two meanings is the share of parts in common."""
    corpus = demo_sentences(num_train=40, num_eval=60, rater_noise=0.0)
    vectors = np.array(corpus["train"]["labels"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    shares = np.unique((vectors @ vectors.T).round(4))
    assert {*shares} <= {0.0, 0.25, 0.5, 0.75, 1.0} and {*corpus["test"]["similarity"]} <= {*shares}
    texts = [text for name in ("train", "validation", "test") for text in corpus[name]["text"]]
    assert len({*texts}) == len(texts)
