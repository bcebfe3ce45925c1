"""Pairs that are no translations are dropped, each counted for the rule that it breaks, and the sound ones stay."""

import json
import random

import numpy as np
import pytest
from datasets import Dataset
from processes import TWO_RANKS, run_script
from tiny_seq2seq import make_translator

from hfdistill.tasks.translation.cleaning import clean as clean_module
from hfdistill.tasks.translation.cleaning.clean import clean_pairs
from hfdistill.tasks.translation.cleaning.cross_entropy import Translators, cross_entropies
from hfdistill.tasks.translation.cleaning.decisions import RULES
from hfdistill.tasks.translation.cleaning.lengths import UsualLengths
from hfdistill.tasks.translation.cleaning.text_rules import is_wrongly_decoded, share_of_letters
from hfdistill.tasks.translation.data import translation_dataset
from hfdistill.tasks.translation.demo import demo_translations

#: Those that need no language identifier, whose model takes seconds to load.
QUICK = {"skip": ["swapped", "wrong language"]}


@pytest.fixture(scope="module")
def corpus():
    """Three hundred different pairs of English and German."""
    rows = demo_translations(num_train=600, num_eval=5)["train"]
    return list(dict.fromkeys(zip(rows["en"], rows["de"], strict=True)))[:300]


def rows_of(pairs, **columns):
    sources, targets = zip(*pairs, strict=True)
    return Dataset.from_dict({"en": sources, "de": targets, **columns})


def pairs_of(rows):
    return list(zip(rows["en"], rows["de"], strict=True))


def cleaned(pairs, **settings):
    """The pairs that are left, and how many each rule dropped, of those that dropped any."""
    kept, report = clean_pairs(rows_of(pairs), **{**QUICK, **settings})
    assert report.rows == len(pairs) and report.kept == len(kept)
    return pairs_of(kept), {rule: count for rule, count in report.dropped.items() if count}


FAULTS = {
    "empty": [(" \t", "nichts"), ("nothing", "")],
    "encoding": [
        ("a cat on the roof", "eine KÃ¤tzin auf dem Dach"),
        ("It â€œworksâ€\x9d.", "Es läuft."),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "Hallo du"),
        ("the m\ufffdller", "der Müller"),
    ],
    "not text": [("1234 5678 -- 90", "Die Nummer"), ("Look", "http://example.org/a/b/c"), (".", ".")],
    "markup": [("a <b>bold</b> cat", "eine fette Katze")],
    "too long": [("word " * 251, "Wort " * 251)],
    "copy": [("The same, here.", "the same here"), ("Berlin", "Berlin")],
    "length": [("A cat.", "Eine Katze, " + "die auf dem Dach sitzt und den Mond ansieht, " * 4)],
    "swapped": [("Das ist ein deutscher Satz über das Wetter.", "This is an English sentence on the weather.")],
    "wrong language": [
        ("Ceci est une phrase française sur le temps.", "Das ist ein deutscher Satz über das Wetter."),
        ("This is an English sentence on the weather.", "This was another English sentence on it."),
    ],
}


def test_each_fault_counts_for_its_rule(corpus):
    """Exactly those that were planted, whatever stands around them; of a pair that is there twice one stays."""
    faulty = [pair for pairs in FAULTS.values() for pair in pairs]
    mixed = [*corpus, *faulty, *corpus[:7]]
    random.Random(0).shuffle(mixed)
    kept, dropped = cleaned(mixed, skip=())
    assert dropped == {**{rule: len(pairs) for rule, pairs in FAULTS.items()}, "duplicate": 7}
    assert sorted(kept) == sorted(corpus) and kept == list(dict.fromkeys(pair for pair in mixed if pair in set(corpus)))


@pytest.mark.parametrize("rule", [rule for rule in FAULTS if rule not in QUICK["skip"]])
def test_a_rule_that_is_skipped_drops_nothing(corpus, rule):
    _, dropped = cleaned([*corpus, *FAULTS[rule]], skip=[*QUICK["skip"], rule])
    assert rule not in dropped


def test_the_order_of_pairs_changes_nothing_but_which_of_equal_ones_stays(corpus):
    """Of the rules on single pairs; blocks are a matter of order."""
    mixed = [*corpus, *FAULTS["copy"], *FAULTS["length"], *FAULTS["markup"]]
    one, other = (cleaned(pairs, skip=[*QUICK["skip"], "misaligned"]) for pairs in (mixed, mixed[::-1]))
    assert one[0] == other[0][::-1] and one[1] == other[1]


def test_usual_lengths_are_those_of_most_pairs():
    """A naive estimate: targets 1.5 times as long, give or take; a fifth of nonsense moves neither figure much."""
    rng = np.random.default_rng(0)
    source = rng.integers(20, 200, 5000).astype(float)
    target = 1.5 * source + 2 * np.sqrt(1.5 * source) * rng.standard_normal(5000)
    target[:1000] = rng.integers(20, 200, 1000)
    usual = UsualLengths.of(source, target)
    assert usual.ratio == pytest.approx(1.5, rel=0.03) and usual.spread == pytest.approx(2, rel=0.35)
    assert (np.abs(usual.deviations(source, target))[1000:] > 5).mean() < 1e-3
    assert UsualLengths.of(source[:9], target[:9]) == UsualLengths()
    # Gale & Church 1993, equation 1, of a source of 100 and a target of 180 characters.
    deviation = (180 - 100 * usual.ratio) / (usual.spread * ((100 * usual.ratio + 180) / 2) ** 0.5)
    assert usual.deviations(np.array([100]), np.array([180]))[0] == pytest.approx(deviation)


@pytest.mark.parametrize(
    "text, share",
    [
        ("abc", 1),
        ("ab 12", 0.5),
        ("see www.example.org", 3 / 18),
        ("नमस्ते", 1),  # vowel signs are no letters of their own
        ("你好。", 2 / 3),
        ("__", 0),
    ],
)
def test_letters_are_those_of_any_script(text, share):
    assert share_of_letters(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["Das macht Spaß…", "Sie rief: „Ä“", "Onde está…”", "Un CAFÉ…”", "5×”", "你好", "naïve"]
)
def test_what_decodes_by_chance_is_written_so(text):
    """ "ß…" and "á…”" are UTF-8 to the byte, of letters of N'Ko and Hangul."""
    assert not is_wrongly_decoded(text)


def test_scores_held_out_texts_and_sources_on_demand(corpus):
    """Each of them with what it needs, and not otherwise."""
    scores = np.linspace(0, 1, len(corpus))
    rows = rows_of(corpus, score=scores)
    kept, report = clean_pairs(rows, min_score=0.25, **QUICK)
    assert report.dropped["score"] == (scores < 0.25).sum() and min(kept["score"]) >= 0.25
    scores[-3:] = np.nan
    assert clean_pairs(rows_of(corpus, score=scores), min_score=0.25, **QUICK)[1].dropped["score"] == 78
    with pytest.raises(ValueError, match="a column 'score'; there are en, de; rename yours, or leave min_score out"):
        clean_pairs(rows_of(corpus), min_score=0.25, **QUICK)
    with pytest.raises(ValueError, match="a column 'fr'; there are en, de; name yours with source and target"):
        clean_pairs(rows_of(corpus), "en", "fr", **QUICK)
    shown = {"test": rows_of([(corpus[3][0].upper(), "x"), ("y", corpus[5][1])])}
    assert cleaned(corpus, held_out=shown)[1] == {"held out": 2}
    again = [(corpus[0][0], "Ein anderer Satz, der neu ist.")]
    assert cleaned([*corpus, *again], max_deviation=99)[1] == {}
    assert cleaned([*corpus, *again], max_deviation=99, unique_sources=True)[1] == {"duplicate source": 1}


def test_half_of_a_text_makes_it_held_out(corpus):
    """Eight words that half of a parliament's speeches begin with are no test text."""
    words = [f"word{number}" for number in range(40)]
    shown = {"validation": rows_of([(" ".join(words[:12]), "nichts davon")])}
    for length, dropped in ((16, 1), (40, 0)):
        pairs = [*corpus, (" ".join(words[:length]), "x" * 6 * length)]
        found = cleaned(pairs, held_out=shown, max_deviation=99)
        assert found[1] == ({"held out": 1} if dropped else {}), length


def test_a_changed_word_makes_no_other_pair(corpus):
    """Both sides of a test pair with a word replaced, added or left out; not one side alone, nor a few words."""
    pair = ("Seven tired sailors sold their old boat", "Sieben müde Seeleute verkauften ihr altes Boot")
    shown = {"test": rows_of([pair, ("See you then", "Bis dann also")])}
    near = [
        ("Seven tired sailors bought their old boat", "Sieben müde Seeleute kauften ihr altes Boot"),
        ("Seven tired sailors sold their boat", "Sieben müde Seeleute verkauften endlich ihr altes Boot"),
    ]
    other = [
        ("Seven tired sailors sold their new boat", "Matrosen haben zu siebt ein Schiff abgegeben"),
        ("See you soon", "Bis bald also"),
    ]
    kept, dropped = cleaned([*corpus, *near, *other], held_out=shown)
    assert dropped == {"held out": 2} and kept == [*corpus, *other]


def test_a_corpus_that_is_wrong_as_a_whole_is_refused(corpus):
    """Dropping nearly all of it would be no help."""
    with pytest.raises(ValueError, match="the columns are exchanged: most texts of 'en' are de, .* source_lang"):
        clean_pairs(rows_of([pair[::-1] for pair in corpus]))
    with pytest.raises(ValueError, match=r"most pairs are not in en and fr, .* \(de \d+\); name the languages"):
        clean_pairs(rows_of(corpus), languages=("en", "fr"))
    with pytest.raises(ValueError, match="'xx' is no language that py3langid knows"):
        clean_pairs(rows_of(corpus), languages=("en", "xx"))
    with pytest.raises(ValueError, match="no pair is left after cleaning"):
        clean_pairs(rows_of(FAULTS["empty"]), **QUICK)
    with pytest.raises(ValueError, match="there is no rule 'copies'; the rules are empty, "):
        clean_pairs(rows_of(corpus), skip=["copies"])
    # Which was taken for nothing to be left out.
    with pytest.raises(ValueError, match="held_out has the splits 'dev', and only validation and test are read"):
        clean_pairs(rows_of(corpus), held_out={"dev": rows_of(corpus)})
    with pytest.raises(TypeError, match=r"skip is one text: give a list of rules, \['copy'\]"):
        clean_pairs(rows_of(corpus), skip="copy")
    with pytest.raises(TypeError, match="cleaning takes a Dataset, such as pairs_dataset reads .*, not a list"):
        clean_pairs(["corpus.en", "corpus.de"])
    with pytest.raises(ValueError, match="source and target are both 'en': name two columns"):
        clean_pairs(rows_of(corpus), "en", "en")
    with pytest.raises(TypeError, match="held_out is a Dataset: give it by the name of its split"):
        clean_pairs(rows_of(corpus), held_out=rows_of(corpus))


def test_decisions_are_made_once_and_again_when_anything_changes(corpus, monkeypatch):
    calls = []
    decide = clean_module.decide
    monkeypatch.setattr(clean_module, "decide", lambda work: (calls.append(1), decide(work)))
    for settings in ({}, {}, {"max_words": 100}, {"max_words": 100}):
        cleaned(corpus, **settings)
    cleaned([*corpus, ("new", "neu")])
    assert len(calls) == 3
    # The same weights read otherwise, as by a model of many languages that is told others.
    (model, tokenizer), (_, other) = make_translator(), make_translator(texts=["xyz zyx"])
    for back in (tokenizer, other):
        cleaned(corpus[:9], translators=Translators((tokenizer, model), (back, model)))
    assert len(calls) == 5


def test_the_report_has_counts_places_and_samples(corpus, tmp_path):
    """Cells of the samples hold no tabs or line breaks; the page shows markup as it is written."""
    pairs = [*corpus, *FAULTS["markup"], ("same\tsame\ntext", "same same text")]
    _, report = clean_pairs(rows_of(pairs), where=lambda row: f"Line {row + 1} of x", **QUICK)
    report.write(tmp_path / "report")
    written = json.loads((tmp_path / "report" / "cleaning.json").read_text(encoding="utf-8"))
    assert written["rows"] == 302 and written["kept"] == 300 and written["dropped"]["copy"] == 1
    lines = (tmp_path / "report" / "cleaning_dropped.tsv").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "rule\twhere\tsource\ttarget" and len(lines) == 4
    assert "copy\tLine 302 of x\tsame same text\tsame same text" in lines
    page = (tmp_path / "report" / "cleaning.md").read_text(encoding="utf-8")
    assert "| markup | 1 | 0.33 % |" in page and r"a \<b\>bold" in page
    assert "kept" in str(report) and "99.34 %" in str(report) and "swapped" not in str(report)
    assert list(report.dropped) == [rule for rule in RULES if rule in report.dropped]


def test_a_task_is_cleaned_against_what_it_is_measured_on(corpus):
    """Empty pairs included, whose rows a shift would be counted by."""
    train = rows_of([*corpus[:250], ("", "leer"), *FAULTS["swapped"]])
    test = rows_of([("Another text.", "Ein anderer Text."), corpus[0]])
    data = translation_dataset(train, rows_of(corpus[250:]), test, clean=True)
    assert data.cleaning.rows == 252 and data.cleaning.kept == len(data.dataset["train"])
    assert (data.cleaning.dropped["empty"], data.cleaning.dropped["swapped"]) == (1, 1)
    assert data.cleaning.dropped["held out"] >= 1 and corpus[0] not in pairs_of(data.dataset["train"])
    assert len(data.dataset["test"]) == 2 and data.dataset["train"].column_names == ["en", "de"]


def test_of_two_processes_one_decides_and_both_keep_the_same(corpus, tmp_path):
    rows_of([*corpus, *FAULTS["copy"]]).save_to_disk(tmp_path / "pairs")
    done = run_script("clean_pairs.py", tmp_path, launcher=TWO_RANKS, HF_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert sum(rank["decided"] for rank in ranks) == 1
    assert ranks[0]["kept"] == ranks[1]["kept"] == list(range(len(corpus)))


def test_cross_entropies_are_those_of_each_pair_alone():
    """Padding, order and batches change nothing: the loss that the model itself gives of one pair."""
    model, tokenizer = make_translator()
    texts = [f"{'a long way ' * (number % 4)}the cat sleeps {number}" for number in range(40)]
    found = cross_entropies(tokenizer, model, texts, texts[::-1], 64)
    for row in (0, 7, 39):
        one = tokenizer(texts[row], text_target=texts[-1 - row], return_tensors="pt")
        assert found[row] == pytest.approx(float(model.eval()(**one).loss), rel=1e-4)


def test_dual_cross_entropy_keeps_what_both_translators_like(corpus):
    """Junczys-Dowmunt's formula (2018) on what the other rules left."""
    (there, tokenizer), (back, _) = make_translator(), make_translator(seed=3)
    translators = Translators((tokenizer, there), (tokenizer, back))
    pairs = [*corpus[:20], *FAULTS["empty"]]
    forward = cross_entropies(tokenizer, there, *zip(*pairs[:20], strict=True), 256)
    backward = cross_entropies(tokenizer, back, [de for _, de in pairs[:20]], [en for en, _ in pairs[:20]], 256)
    wanted = np.exp(-(np.abs(forward - backward) + (forward + backward) / 2))
    limit = float(np.median(wanted))
    kept, dropped = cleaned(pairs, translators=translators, min_adequacy=limit)
    assert kept == [pair for pair, adequacy in zip(pairs[:20], wanted, strict=True) if adequacy >= limit]
    assert dropped == {"empty": 2, "adequacy": 10}
