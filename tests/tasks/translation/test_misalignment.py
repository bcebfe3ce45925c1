"""Shifted blocks are found where they are and nowhere else, and whoever trains without cleaning is warned of them."""

import logging
import random

import pytest
from datasets import Dataset

from hfdistill.tasks.translation.cleaning.clean import clean_pairs
from hfdistill.tasks.translation.cleaning.misalignment import ShiftFinder
from hfdistill.tasks.translation.data import translation_dataset

#: How many rows the ends of a block may be off: a pair that is next to it may fit either way.
NEAR = 6


@pytest.fixture(scope="module")
def corpus():
    """Texts of many lengths with numbers and names in them, in no real language, and their translations."""
    rng = random.Random(0)
    names = ["".join(rng.choices("bdklmnrst", k=3)) + "".join(rng.choices("aeiou", k=4)) for _ in range(300)]
    pairs = []
    for _ in range(1500):
        words = ["wort"] * rng.randint(2, 30)
        if rng.random() < 0.5:
            words[rng.randrange(len(words))] = rng.choice(names)
        if rng.random() < 0.2:
            words[rng.randrange(len(words))] = str(rng.randint(2, 2000))
        target = [word.replace("wort", rng.choice(["slova", "sl", "slovo"])) for word in words]
        pairs.append((" ".join(words) + ".", " ".join(target) + rng.choice(".!")))
    return pairs


def shifted(pairs, first, last, by):
    """The targets of a passage, so many rows further up; those that are pushed out come last."""
    targets = [target for _, target in pairs]
    passage = targets[first:last]
    targets[first:last] = passage[by:] + passage[:by]
    return [(source, target) for (source, _), target in zip(pairs, targets, strict=True)]


def found_in(pairs):
    finder = ShiftFinder()
    for pair in pairs:
        finder.add(*pair)
    return finder.finish()


def test_a_corpus_that_is_aligned_has_no_blocks(corpus):
    assert found_in(corpus) == []
    assert found_in(random.Random(1).sample(corpus, len(corpus))) == []
    assert found_in(corpus[:60]) == []  # too few to say


@pytest.mark.parametrize(
    "first, last, by", [(400, 900, 1), (400, 900, -1), (700, 800, 3), (0, 300, 1), (1200, 1500, 1)]
)
def test_a_shifted_passage_is_found_by_its_rows(corpus, first, last, by):
    [block] = found_in(shifted(corpus, first, last, by))
    assert abs(block.first - first) <= NEAR and abs(block.last - (last - 1)) <= NEAR
    assert block.shift == -by


def test_a_missing_line_shifts_all_that_follow(corpus):
    targets = [target for _, target in corpus]
    [block] = found_in(list(zip([source for source, _ in corpus], targets[:600] + targets[601:], strict=False)))
    assert abs(block.first - 600) <= NEAR and block.last == 1498 and block.shift == -1


def test_a_passage_in_which_nothing_belongs_together(corpus):
    passage = [target for _, target in corpus[500:900]]
    random.Random(2).shuffle(passage)
    mixed = [
        (source, passage[row - 500] if 500 <= row < 900 else target) for row, (source, target) in enumerate(corpus)
    ]
    [block] = found_in(mixed)
    assert abs(block.first - 500) <= NEAR and abs(block.last - 899) <= NEAR and block.shift is None


def test_parts_of_a_large_corpus_are_looked_at_one_after_the_other(corpus, monkeypatch):
    """Memory does not grow; a block is found in each part that it reaches into."""
    monkeypatch.setattr("hfdistill.tasks.translation.cleaning.misalignment._ROWS_AT_ONCE", 500)
    blocks = found_in(shifted(corpus, 600, 1300, 1))
    assert [block.shift for block in blocks] == [-1, -1]
    assert abs(blocks[0].first - 600) <= NEAR and abs(blocks[-1].last - 1299) <= NEAR


def rows_of(pairs):
    sources, targets = zip(*pairs, strict=True)
    return Dataset.from_dict({"en": sources, "de": targets})


def test_blocks_are_dropped_and_named(corpus):
    where = {"where": lambda row: f"Line {row + 1}", "skip": ["swapped", "wrong language", "duplicate", "length"]}
    kept, report = clean_pairs(rows_of(shifted(corpus, 400, 900, 1)), **where)
    count = report.dropped["misaligned"]
    assert count == pytest.approx(500, abs=2 * NEAR) and len(kept) == 1500 - count
    [note] = [note for note in report.notes if note.startswith("Dropped as a block: from Line ")]
    assert note.endswith("the target texts stand one row above their sources.")
    with pytest.raises(ValueError, match=r"most pairs do not belong together: from Line .*; mend the files first"):
        clean_pairs(rows_of(shifted(corpus, 200, 1500, 1)), **where)


def test_without_cleaning_a_shift_is_warned_of(corpus, caplog):
    with caplog.at_level(logging.WARNING, "hfdistill"):
        translation_dataset(rows_of(corpus), rows_of(corpus[:5]))
        assert "--clean" not in caplog.text
        translation_dataset(rows_of(shifted(corpus, 700, 1500, 1)), rows_of(corpus[:5]))
    assert "in a sample, from Row 70" in caplog.text and "to Row 1500 of the train split" in caplog.text
    assert "mend the files, where lines of one are missing; of training pairs, clean (--clean) drops" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "hfdistill"):
        translation_dataset(rows_of(corpus[:5]), rows_of(shifted(corpus, 700, 1500, 1)), rows_of(corpus[:5]))
    assert "the validation split: in a sample, from Row 70" in caplog.text and "test split: in" not in caplog.text


def test_columns_in_other_languages_are_warned_of(caplog):
    english = [f"This is sentence {number} on the weather of our country." for number in range(60)]
    german = [f"Das ist Satz {number} über das Wetter in unserem Land." for number in range(60)]
    right, swapped = rows_of(zip(english, german, strict=True)), rows_of(zip(german, english, strict=True))
    said = "split: most texts of 'en' are de and of 'de' are en: name the languages with source_lang and target_lang"
    with caplog.at_level(logging.WARNING, "hfdistill"):
        translation_dataset(right, unlabeled_file=right)
        assert "most texts of" not in caplog.text
        translation_dataset(swapped)
        assert f"the train {said}" in caplog.text
        translation_dataset(right, swapped, swapped, unlabeled_file=swapped)
    for split in ("validation", "test"):
        assert f"the {split} {said}" in caplog.text
    assert "the unlabeled split: most texts of 'en' are de: give texts in the source language" in caplog.text


def test_a_test_set_of_exchanged_files_is_warned_of_where_train_is_cleaned(caplog):
    """Held-out texts that stand in the other column would be found in no pair."""
    english = [f"This is sentence {number} on the weather of our country." for number in range(60)]
    german = [f"Das ist Satz {number} über das Wetter in unserem Land." for number in range(60)]
    with caplog.at_level(logging.WARNING, "hfdistill"):
        translation_dataset(
            rows_of(zip(english[30:], german[30:], strict=True)), rows_of(zip(german, english, strict=True)), clean=True
        )
    assert "the validation split: most texts of 'en' are de" in caplog.text


@pytest.mark.parametrize("rows", [200, 3000])
def test_texts_without_anything_in_common_are_left_alone(rows):
    """Short texts of two scripts, alike in length: chance must not make a shift of them."""
    rng = random.Random(rows)
    pairs = [("甲" * rng.randint(4, 6), "b" * rng.randint(8, 12)) for _ in range(rows)]
    assert found_in(pairs) == []
