"""Monolingual texts that a teacher had better not translate: each planted fault is counted under its rule."""

import pytest
from datasets import Dataset

from hfdistill import clean_texts, translation_dataset

GOOD = [
    f"The committee met on day {number} to talk about the price of grain in the northern provinces."
    for number in range(9)
]
TRAINED = "A man in a blue shirt is standing on a ladder and cleaning the windows of a house."
HELD_OUT = "Two young women are sitting on a wall beside the river and eating their lunch together."
PLANTED = {
    "empty": ["", "  "],
    "encoding": ["The cafÃ© opened again, and the committee met there."],
    "not text": ["1,234.50 2,300.10 3,400.20 -- 55 %"],
    "markup": ["The <b>committee</b> met again to talk about the price of grain."],
    "too long": ["word " * 260],
    "wrong language": ["Der Ausschuss trat am Montag zusammen, um über den Preis von Getreide zu sprechen."],
    "held out": [HELD_OUT.upper(), f"Yesterday {HELD_OUT.lower()}"],
    "duplicate": [GOOD[0], TRAINED],
}
TEXTS = [*GOOD, *(text for texts in PLANTED.values() for text in texts)]


def columns(*texts):
    return Dataset.from_dict({"en": list(texts), "de": [f"{text} auf Deutsch" for text in texts]})


def test_each_planted_fault_is_counted_under_its_rule():
    pytest.importorskip("py3langid", reason="the extra `translation` is not installed")
    rows = Dataset.from_dict({"en": TEXTS, "id": range(len(TEXTS))})
    given = {"trained": columns(TRAINED), "held_out": {"test": columns(HELD_OUT)}}
    kept, report = clean_texts(rows, "en", **given)
    assert kept["en"][:] == GOOD and kept["id"][:] == list(range(9))
    assert report.dropped == {rule: len(texts) for rule, texts in PLANTED.items()} and report.kept == 9
    assert {one.source for one in report.samples if one.rule == "held out"} == set(PLANTED["held out"])
    assert "Texts in another language: de 1." in str(report) and "unlabeled texts" in str(report)
    kept, report = clean_texts(rows, "en", skip=["duplicate", "held out"], **given)
    assert len(kept) == 13 and "duplicate" not in report.dropped


def test_they_are_cleaned_with_the_pairs(tmp_path):
    """Before the teacher translates them, and with a report of their own."""
    pytest.importorskip("py3langid", reason="the extra `translation` is not installed")
    (tmp_path / "more.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    german = [f"Der Ausschuss sprach am Tag {number} über den Preis von Getreide im Norden." for number in range(9)]
    english = [f"On day {number} the committee spoke about the price of grain in the north." for number in range(9)]
    pairs = Dataset.from_dict({"en": [TRAINED, *english], "de": [f"{german[0]} Ja.", *german]})
    test = Dataset.from_dict({"en": [HELD_OUT], "de": ["Zwei junge Frauen sitzen auf einer Mauer am Fluss."]})
    data = translation_dataset(pairs, test, test, unlabeled_file=tmp_path / "more.txt", clean=True)
    assert data.monolingual["en"][:] == GOOD and len(data.cleanings) == 2
    data.text_cleaning.write(tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        f"cleaning_texts{ending}" for ending in (".json", ".md", "_dropped.tsv")
    }
    assert data.text_cleaning.sentence().startswith(
        "Cleaning dropped 11 of 20 unlabeled texts: see `report/cleaning_te"
    )


def test_bad_input_is_refused():
    pytest.importorskip("py3langid", reason="the extra `translation` is not installed")
    rows = Dataset.from_dict({"en": GOOD})
    for changes, said in (
        ({"skip": ["copy"]}, "no rule 'copy'; the rules are empty, encoding, not text"),
        ({"column": "de"}, "cleaning needs a column 'de'; there are en; name yours with column"),
        ({"language": "Klingon"}, "'Klingon' is no language that py3langid knows"),
        ({"language": "fr"}, "most texts are not in fr, but in other languages .en 9.: name theirs"),
        ({"held_out": {"test": rows}}, "no text is left after cleaning"),
        ({"held_out": {"dev": rows}}, "held_out has the splits 'dev', and only validation and test are read"),
        ({"held_out": {"train": rows}}, "held_out has the splits 'train', and only validation and test are read"),
    ):
        with pytest.raises(ValueError, match=said):
            clean_texts(rows, **changes)
