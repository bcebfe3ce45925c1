"""`hfdistill clean`, and options of `hfdistill translate` that clean: what they leave behind, what they refuse."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from script_runs import last_line
from tiny_seq2seq import make_translator
from translators import BASICS, SHORT_PAIRS, complete, translator_home

from hfdistill import Translators, clean_pairs, pairs_dataset
from hfdistill.commands.main import main
from hfdistill.tasks.translation.cleaning.cross_entropy import adequacies
from hfdistill.tasks.translation.demo import demo_translations


@pytest.fixture
def home(tmp_path, monkeypatch, quick_report):
    """The user's folder, with a corpus in two files: ninety pairs, two copies and a pair that is swapped."""
    folder = translator_home(tmp_path, monkeypatch)
    rows = demo_translations(num_train=150, num_eval=5)["train"]
    pairs = list(dict.fromkeys(zip(rows["en"], rows["de"], strict=True)))[:90]
    pairs[40:40] = [(pairs[0][0], pairs[0][0]), (pairs[1][1], pairs[1][1]), pairs[2][::-1]]
    write_corpus(pairs)
    return folder


def write_corpus(pairs):
    for language, side in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        Path(f"corpus.{language}").write_text("\n".join(side) + "\n", encoding="utf-8")


def refusal(words, capfd):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return last_line(ended, capfd)


def test_a_corpus_is_cleaned_into_two_files(home, capfd):
    main(
        [
            "clean",
            "corpus.en",
            "corpus.de",
            "--output_dir",
            "cleaned",
            "--held_out",
            "corpus.en",
            "corpus.de",
            "--skip",
            "held out",
        ]
    )
    printed = capfd.readouterr().out
    assert "copy" in printed and "2.15 %" in printed and "swapped" in printed
    lines = [Path(f"cleaned/clean.{language}").read_text(encoding="utf-8").split("\n") for language in ("en", "de")]
    wanted = [Path(f"corpus.{language}").read_text(encoding="utf-8").split("\n") for language in ("en", "de")]
    assert lines == [side[:40] + side[43:] for side in wanted]
    dropped = Path("cleaned/cleaning_dropped.tsv").read_text(encoding="utf-8")
    assert "copy\tLine 41 of corpus.en and corpus.de\t" in dropped and "swapped\tLine 43 of" in dropped
    assert json.loads(Path("cleaned/cleaning.json").read_text(encoding="utf-8"))["kept"] == 90
    told = refusal(["clean", "corpus.en", "corpus.de", "--output_dir", "cleaned"], capfd)
    assert told.endswith("cleaned already holds something: choose another --output_dir.")  # it has no other option


def test_a_column_of_a_score_that_nothing_reads_is_refused(home, capfd):
    words = ["clean", "corpus.en", "corpus.de", "--output_dir", "cleaned", "--score_column", "bicleaner"]
    assert "--score_column is of the rule that needs --min_score: give both" in refusal(words, capfd)


def test_one_language_is_no_pair(home, capfd):
    """`--source_lang de` alone, and both sides went to one file."""
    for name in ("one.txt", "other.txt"):
        Path(f"corpus.{'en' if name == 'one.txt' else 'de'}").rename(name)
    told = refusal(["clean", "one.txt", "other.txt", "--source_lang", "de", "--output_dir", "cleaned"], capfd)
    assert "source and target are both 'de': name two columns or languages" in told


def test_held_out_texts_in_the_wrong_columns_are_warned_of(home, caplog):
    sides = [Path(f"corpus.{language}").read_text(encoding="utf-8").splitlines() for language in ("de", "en")]
    Path("test.txt").write_text("\n".join(map("\t".join, zip(*sides, strict=True))), encoding="utf-8")
    main(["clean", "corpus.en", "corpus.de", "--output_dir", "cleaned", "--held_out", "test.txt"])
    assert "test.txt: most texts of 'en' are de and of 'de' are en: name the languages" in caplog.text


def test_two_translators_drop_what_they_do_not_agree_on(home):
    """Of what the other rules leave, the half that `adequacies` puts below the median."""
    model, tokenizer = make_translator()
    sound, _ = clean_pairs(pairs_dataset(["corpus.en", "corpus.de"], "en", "de"))
    found = adequacies(sound["en"][:], sound["de"][:], Translators((tokenizer, model), (tokenizer, model)))
    limit = str(np.median(found))
    words = ["--output_dir", "cleaned", "--translators", "teacher", "teacher", "--min_adequacy", limit]
    main(["clean", "corpus.en", "corpus.de", *words])
    assert json.loads(Path("cleaned/cleaning.json").read_text(encoding="utf-8"))["dropped"]["adequacy"] == 45
    wanted = [text for text, adequacy in zip(sound["de"], found, strict=True) if adequacy >= float(limit)]
    assert Path("cleaned/clean.de").read_text(encoding="utf-8").splitlines() == wanted


def test_a_student_learns_from_what_is_left(home, monkeypatch, capfd):
    write_corpus([*SHORT_PAIRS, *[(source, source) for source, _ in SHORT_PAIRS[:2]], ("", "leer")])
    words = ["translate", *BASICS, "--teacher_name_or_path", "teacher", "--train_file", "corpus.en", "corpus.de"]
    words += ["--methods", "word", "--output_dir", "out", "--max_steps", "2", "--clean"]
    monkeypatch.setattr(sys, "argv", ["hfdistill", *words])
    main(words)
    assert "Cleaning 23 pairs:" in capfd.readouterr().out
    complete(home / "out", ("teacher", "student"))
    assert json.loads((home / "out/report/cleaning.json").read_text(encoding="utf-8"))["dropped"]["copy"] == 2
    for page in ("README.md", "report/report.md"):
        text = (home / "out" / page).read_text(encoding="utf-8")
        assert "Cleaning dropped 3 of 23 training pairs" in text
    assert "corpus.en and corpus.de" in (home / "out/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words, message",
    [
        (["translate", "--train_file", "corpus.en"], "corpus.en is one side of a corpus: give the other one behind it"),
        (["translate", "--train_file", "corpus.en", "none.de"], "There is no file none.de"),
        (["translate", "--train_file", "train.jsonl", "corpus.de"], "train.jsonl is no side of a corpus in two files"),
        (["translate", "--unlabeled_file", "a.tmx"], "Cannot read a.tmx: its ending must be one of"),
        (["translate", "--min_score", "0.5"], "--min_score is one of the rules of --clean: give both."),
        (["translate", "--demo", "--clean"], "--clean has nothing to find in the corpus that --demo generates"),
        (
            ["clean", "corpus.en", "corpus.de", "--output_dir", "x", "--min_adequacy", "0.1"],
            "--min_adequacy is of the rule that needs --translators: give both.",
        ),
        (
            ["clean", "corpus.en", "corpus.de", "--output_dir", "x", "--target_tag", "deu_Latn"],
            "--target_tag is of the rule that needs --translators: give both.",
        ),
        (["clean", "corpus.en", "--output_dir", "x"], "corpus.en is one side of a corpus"),
        (
            ["clean", "corpus.en", "corpus.de", "--output_dir", "x", "--skip", "y"],
            "there is no rule 'y'; the rules are",
        ),
        (
            ["clean", "corpus.en", "corpus.de", "--output_dir", "x", "--min_score", "1"],
            "corpus.en and corpus.de: there is no score for min_score; give a table with a column for it",
        ),
        (
            ["clean", "train.jsonl", "--output_dir", "x", "--min_score", "1"],
            "train.jsonl has no column 'score' for min_score",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(home, words, message, capfd):
    assert message in refusal(words, capfd)
    assert not Path("x").exists()
