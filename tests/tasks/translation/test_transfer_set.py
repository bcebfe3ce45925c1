"""The rows that a student learns from, and which translations are not fit for it."""

import math
import sys

import pytest
import sacrebleu
from datasets import Dataset
from texts import TEXTS

from hfdistill import transfer_set
from hfdistill.tasks.translation.minimum_risk import expected_utilities
from hfdistill.tasks.translation.pseudo_translations import TRANSLATIONS


def candidates(*texts, finished=True):
    return [{"text": text, "finished": finished} for text in texts]


def rows_of(*rows):
    sources, references, translations = zip(*rows, strict=True)
    return Dataset.from_dict({"en": sources, "de": references, TRANSLATIONS: translations, "id": range(len(rows))})


CLEAN = rows_of(
    ("the dog sees a cat", "der Hund sieht eine Katze", candidates("ein Hund sah Katzen", "der Hund sieht die Katze")),
    ("he sleeps", "er schläft", candidates("er schläft", "er schläft")),
)


@pytest.mark.parametrize(
    "choose, texts",
    [
        ("best", ["ein Hund sah Katzen", "er schläft"]),
        ("closest", ["der Hund sieht die Katze", "er schläft"]),
        ("all", ["ein Hund sah Katzen", "der Hund sieht die Katze", "er schläft"]),
    ],
)
def test_which_candidate_is_learned_from(choose, texts):
    """Interpolation keeps the teacher's words and comes closest to people's; two equal candidates are one row."""
    rows, report = transfer_set(CLEAN, "en", "de", choose)
    assert rows["de"] == texts and rows.column_names == ["en", "id", "de"]
    assert report.rows == 2 and report.pairs == len(texts) and report.lost == 0 and not report.dropped
    if choose == "all":
        assert rows["id"] == [0, 0, 1]


def test_what_was_chosen_is_read_again(monkeypatch):
    """With the same report; another choice, or other rows, are chosen anew."""
    rows, report = transfer_set(CLEAN, "en", "de", "mbr")
    monkeypatch.setattr(sys.modules["hfdistill.tasks.translation.transfer_set"], "_chosen", None)
    again, same = transfer_set(CLEAN, "en", "de", "mbr")
    assert again[:] == rows[:] and same == report
    for given, choose in ((CLEAN, "closest"), (CLEAN.select([1]), "mbr")):
        with pytest.raises(TypeError):
            transfer_set(given, "en", "de", choose, max_length_ratio=2.9)


def test_what_was_sampled_twice_counts_once():
    """Its probability is known already, and counting it again would square it."""
    scores = [math.log(share) - 20 for share in (0.3, 0.25, 0.25, 0.2)]
    expected = expected_utilities(AGREEING, scores)
    again = expected_utilities([*AGREEING, AGREEING[0], AGREEING[0]], [*scores, scores[0], scores[0] + 1e-5])
    assert again[:4] == pytest.approx(expected, rel=1e-4)
    assert expected_utilities([*AGREEING, AGREEING[0]], [None] * 5)[0] > expected_utilities(AGREEING, [None] * 4)[0]


#: The likeliest of all stands alone; the others agree on most of their words.
AGREEING = ("ein Hund sah Katzen", "der Hund sieht eine Katze", "der Hund sieht die Katze", "der Hund sah eine Katze")


@pytest.mark.parametrize(
    "probabilities",
    [None, (0.3, 0.25, 0.2, 0.25), (0.28, 0.1, 0.31, 0.31), (0.97, 0.01, 0.01, 0.01)],
    ids=["alike", "equal", "others", "sure"],
)
def test_minimum_bayes_risk_against_its_definition(probabilities):
    """The candidate of the greatest expected chrF as sacreBLEU counts it, under the teacher's distribution."""
    weights = probabilities or (1.0,) * 4
    given = candidates(*AGREEING)
    for one, share in zip(given, probabilities or (), strict=False):
        one["score"] = math.log(share) - 20
    pairs = list(zip(AGREEING, weights, strict=True))
    gains = {x: sum(w * sacrebleu.sentence_chrf(x, [y]).score for y, w in pairs) for x in AGREEING}
    chosen = max(gains, key=gains.__getitem__)
    rows, _ = transfer_set(rows_of(("the dog sees a cat", "", given)), "en", "de", "mbr")
    assert rows["de"] == [chosen]
    assert (chosen == AGREEING[0]) == (probabilities is not None and probabilities[0] > 0.9)


def test_minimum_bayes_risk_is_of_the_candidates_that_are_fit():
    """One that ran away, and would be a reference for the others, is dropped before; of one nothing is chosen."""
    faulty = [*candidates("und " * 60, finished=False), *candidates("")]
    rows = rows_of(
        ("the dog sees a cat", "", [*faulty, *candidates("der Hund")]), ("he sleeps", "", candidates("", ""))
    )
    kept, report = transfer_set(rows, "en", "de", "mbr")
    assert kept["de"] == ["der Hund"] and report.lost == 1 and report.dropped == {"not finished": 1, "empty": 3}


#: What is usual, for one translation to be measured by.
USUAL = [(source, "", candidates(f"{source} ja")) for source in TEXTS]

DEGENERATE = {
    "empty": ("the dog sleeps", candidates(" ")),
    "a copy of the source": ("the dog sleeps now", candidates("The dog sleeps now")),
    "not finished": ("the dog sleeps", candidates("der Hund", finished=False)),
    "repeating itself": ("the dog sleeps in there", candidates("der Hund der Hund der Hund der Hund schläft")),
    "too long or too short": ("the dog", candidates("der Hund " + " ".join(map(str, range(30))))),
}


@pytest.mark.parametrize("fault", DEGENERATE)
def test_degenerate_translations_are_dropped_and_counted(fault):
    source, translations = DEGENERATE[fault]
    kept, report = transfer_set(rows_of((source, "", translations), *USUAL), "en", "de")
    assert kept["en"] == TEXTS
    assert report.dropped == {fault: 1} and (report.rows, report.pairs, report.lost) == (31, 30, 1)
    assert f"1 {fault}" in str(report)
    # The next candidate of the beam stands in where there is one.
    rows = rows_of((source, "", [*translations, *candidates("der Hund schläft jetzt")]), *USUAL)
    kept, report = transfer_set(rows, "en", "de")
    assert kept["de"][0] == "der Hund schläft jetzt" and report.lost == 0 and report.dropped == {fault: 1}


@pytest.mark.parametrize(
    "source, text",
    [
        ("Angela Merkel", "Angela Merkel"),
        ("no no no no no", "nein nein nein nein nein"),
        ("bah", "bah bah bah"),
        ("OK", "In Ordnung, ja."),
        ("hahahahahahaha, very funny", "哈哈哈哈哈哈哈哈哈哈哈哈哈哈，很好笑"),
        ("and so on, as I said at length ...", "und so weiter, wie ich schon ausführlich sagte ............"),
        ("no end of zeros", "1000000"),
    ],
)
def test_what_only_looks_degenerate_is_kept(source, text):
    """Names stay as they are, a text that repeats itself is translated so, and short texts vary in length."""
    rows, report = transfer_set(rows_of((source, "", candidates(text)), *USUAL), "en", "de")
    assert rows["de"][0] == text and not report.dropped


@pytest.mark.parametrize(
    "text",
    [
        "我不知道我不知道我不知道我不知道。",
        "这部电影" + "很好看，" * 5,
        "哈哈哈哈,哈哈哈哈,哈哈哈哈,哈哈哈哈,",
        "h" + "a" * 40,
        "der Film ist " + "sehr schön und auch noch " * 4,
    ],
)
def test_repetition_is_seen_without_spaces(text):
    """Words split at spaces are none in Chinese, and a text that ran away within a word was learned from."""
    source = "I do not know what to say about a film like that"
    _, report = transfer_set(rows_of((source, "", candidates(text)), *USUAL), "en", "de")
    assert report.dropped == {"repeating itself": 1}


CHINESE = "然而委员会认为这些建议没有充分考虑小企业的处境也没有说明费用由谁承担因此要求在年底之前提交新的草案"
ENGLISH = (
    "The committee found, however, that these proposals do not take sufficient account of the situation of small "
    "businesses and fail to explain who is to bear the costs; it therefore asks that a new draft be submitted before "
    "the end of the year, together with an assessment of its consequences"
)


def written_in(source, target, *odd):
    """Rows of texts of all lengths, cut alike in both languages, and a few pairs more."""
    parts = [(source[: len(source) * part // 20], target[: len(target) * part // 20]) for part in range(4, 21)]
    return rows_of(*((one, "", candidates(other)) for one, other in (*parts, *odd)))


@pytest.mark.parametrize("source, target", [(ENGLISH, CHINESE), (CHINESE, ENGLISH)], ids=["to", "from"])
def test_lengths_are_measured_by_what_is_usual(source, target):
    """Chinese needs a fifth of the characters of English: measured one to one, every faithful translation was lost."""
    assert len(ENGLISH) > 3 * len(CHINESE) + 20
    kept, report = transfer_set(written_in(source, target), "en", "de")
    assert len(kept) == 17 and not report.dropped
    short, long = (source, target[: len(target) // 4]), (source[: len(source) // 4], target)
    kept, report = transfer_set(written_in(source, target, short, long), "en", "de")
    assert len(kept) == 17 and report.dropped == {"too long or too short": 2}


def test_what_was_cut_is_not_what_is_usual():
    """Candidates that ran on to `max_length` made every finished one look too short."""
    endless = candidates(*["ja " * 99] * 2, finished=False)
    rows = rows_of(*((source, "", [*translations, *endless]) for source, _, translations in USUAL))
    kept, report = transfer_set(rows, "en", "de")
    assert kept["en"] == TEXTS and report.dropped == {"not finished": 60}


def test_a_transfer_set_of_nothing_is_refused():
    with pytest.raises(ValueError, match="none of the teacher's translations can be learned from: .*1 empty"):
        transfer_set(rows_of(("a dog", "", candidates(""))), "en", "de")
    with pytest.raises(ValueError, match="choose must be one of best, closest, mbr, quality, all"):
        transfer_set(CLEAN, "en", "de", "first")
    with pytest.raises(ValueError, match="needs the columns teacher_translations.*pseudo_translations makes it"):
        transfer_set(CLEAN.remove_columns(TRANSLATIONS), "en", "de")
    with pytest.raises(ValueError, match="source_column and target_column are both 'en': translations would replace"):
        transfer_set(CLEAN, "en", "en")
    with pytest.raises(ValueError, match="max_length_ratio must be at least 1, as long as usual; got 0.3"):
        transfer_set(CLEAN, "en", "de", max_length_ratio=0.3)


def test_a_row_without_a_reference_has_no_closest():
    """Texts without a reference, added to those with one, ended in a TypeError of sacreBLEU."""
    rows = rows_of(("he sleeps", "er schläft", candidates("er schläft")), ("a dog", None, candidates("ein Hund")))
    with pytest.raises(ValueError, match="row 1 of column 'de' has no reference to come close to, and 0 more"):
        transfer_set(rows, "en", "de", "closest")
    assert transfer_set(rows, "en", "de")[0]["de"] == ["er schläft", "ein Hund"]
