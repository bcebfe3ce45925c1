"""Corpora of translations: each way in which they come gives the same pairs, and what is wrong is named by its line."""

import gzip
import json
from itertools import chain, islice, starmap

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import run_script

from hfdistill.data.files import recognized_pairs
from hfdistill.data.lines import _zstd
from hfdistill.data.parallel import has_header, lines_dataset, pairs_dataset
from hfdistill.tasks.translation.data import translation_dataset
from hfdistill.tasks.translation.reading import read_texts

#: Lines with what other programs take for the end of one.
PAIRS = [("a cat\u2028sat", "eine Katze\x85saß"), ("one\x0ctwo", "eins\x0czwei"), (" a\tb ", "“c”"), ("", "leer")]


def two_files(write, pairs=PAIRS, ending="", newline="\n", names=("corpus.en", "corpus.de")):
    compress = {"": bytes, ".gz": bytes, ".zst": lambda content: _zstd().compress(content)}[ending]
    texts = [newline.join(side) + newline for side in zip(*pairs, strict=True)]
    return [write(f"{name}{ending}", compress(text.encode())) for name, text in zip(names, texts, strict=True)]


def pairs_of(rows):
    return list(zip(rows["en"], rows["de"], strict=True))


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_only_line_feeds_end_a_line(write, ending, newline):
    """`str.splitlines` would find more lines in one file than in the other, and shift all that follow."""
    rows = pairs_dataset(two_files(write, ending=ending, newline=newline), "en", "de")
    assert pairs_of(rows) == PAIRS and rows["_line"] == [1, 2, 3, 4]


def test_a_last_line_needs_no_end_and_a_mark_is_no_text(write):
    files = [write("corpus.en", b"\xef\xbb\xbfa\nb"), write("corpus.de", "c\nd\n")]
    assert pairs_of(pairs_dataset(files, "en", "de")) == [("a", "c"), ("b", "d")]


def test_names_say_which_side_is_which(write):
    english, german = two_files(write)
    assert pairs_of(pairs_dataset([german, english], "en", "de")) == PAIRS
    assert pairs_dataset([german, english], "deu_Latn", "eng_Latn")["deu_Latn"] == [german for _, german in PAIRS]
    with pytest.raises(ValueError, match=r"'en' and 'de' by their names, and the languages are 'en' and 'fr'"):
        pairs_dataset([english, german], "en", "fr")
    files = two_files(write, names=("train.src", "train.tgt"))
    assert pairs_of(pairs_dataset(files, "en", "de")) == PAIRS


def test_a_file_that_has_changed_is_read_anew(write):
    assert len(pairs_dataset(two_files(write), "en", "de")) == 4
    assert pairs_of(pairs_dataset(two_files(write, [("x", "y")]), "en", "de")) == [("x", "y")]


TMX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="EN-us"><seg>A <bpt i="1">&lt;b&gt;</bpt>bold<ept i="1">&lt;/b&gt;</ept> <hi>cat</hi>
  &amp; a dog</seg></tuv><tuv xml:lang="de_AT"><seg>Eine\u00a0Katze</seg></tuv></tu>
<tu><tuv lang="en-GB"><seg>colour</seg></tuv><tuv lang="en"><seg>color</seg></tuv>
<tuv lang="de"><seg>Farbe</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>alone</seg></tuv><tuv xml:lang="fr"><seg>seul</seg></tuv></tu>
</body></tmx>"""


@pytest.mark.parametrize("name", ["memory.tmx", "memory.tmx.gz"])
def test_translation_memories(write, name):
    """Codes of other formats are no text; of variants the very language comes first; a unit may lack one."""
    rows = pairs_dataset([write(name, TMX)], "en", "de")
    wanted = [("A bold cat & a dog", "Eine\u00a0Katze"), ("color", "Farbe"), ("alone", "")]
    assert pairs_of(rows) == wanted and rows["_line"] == [1, 2, 3]
    assert pairs_dataset([write(name, TMX)], "en-GB", "de")["en-GB"][1] == "colour"


def test_columns_without_a_header(write):
    assert pairs_of(pairs_dataset([write("pairs.txt", "a cat\teine Katze\n\n b \tc\r\n")], "en", "de")) == [
        ("a cat", "eine Katze"),
        (" b ", "c"),
    ]
    for content in ("A cat.\tEine Katze.\t0.75\nB\tC\t-1\n", "0.75\tA cat.\tEine Katze.\n-1\tB\tC\n"):
        rows = pairs_dataset([write("scored.tsv", content)], "en", "de")
        assert pairs_of(rows) == [("A cat.", "Eine Katze."), ("B", "C")] and rows["score"] == [0.75, -1]


@pytest.mark.parametrize(
    ("first", "header"),
    [
        ("en\tde", True),
        ("Id\tEN\tde", True),
        ("EN\tDE", True),
        ("en-US\tde-DE\tscore", True),
        ("source\ttarget", True),
        ("hello\thallo", True),  # for all that anyone can tell
        ("one\ttwo\tthree\tfour", True),
        ("Hello\tHallo", False),
        ("No\tNein", False),
        ("0.5\thello\thallo", False),
        ("hello you\thallo du", False),
        ("", False),
    ],
)
def test_a_header_is_what_may_be_names(write, first, header):
    assert has_header(write("pairs.tsv", f"{first}\nA cat.\tEine Katze.\n"), ("en", "de")) is header


@pytest.mark.parametrize("first", ["hello\thallo", "Hello you.\tHallo du.\t1\t2", "EN\tDE"])
def test_a_pair_that_was_taken_for_a_header_may_be_either(write, first):
    with pytest.raises(ValueError) as error:
        translation_dataset(write("pairs.tsv", f"{first}\n" * 9))
    names = ", ".join(map(repr, first.split("\t")))
    assert f"pairs.tsv has no column 'en'; its columns are {names}; name yours with source_lang and" in str(error.value)
    assert "or, if its first line is no header, have the name of the file end in .txt (source, target" in str(
        error.value
    )
    with pytest.raises(ValueError, match=r"'more'; name yours .* no header, .* end in \.txt \(a sentence a line\)"):
        read_texts(write("more.tsv", "more\ntexts\n"), "unlabeled", "en")


@pytest.mark.parametrize("name", ["more.txt", "more.en.gz"])
def test_lines_of_one_language(write, name):
    content = "one\u2028line\r\nnext\n"
    assert lines_dataset(write(name, content), "en")["en"] == ["one\u2028line", "next"]


def refused(files, source="en", target="de"):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        pairs_dataset(files, source, target)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_files_of_unequal_length_are_refused_with_both_counts(write):
    files = [write("corpus.en", "a\nb\u2028c\n"), write("corpus.de", "A\nB\nC\n")]
    said = refused(files)
    assert "corpus.en has 2 lines and" in said and "corpus.de 3: from where one is missing on" in said
    assert "corpus.en has 1 lines with other separators within, the first, 2, with '\\u2028'" in said


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("corpus.de", b"gut\nsch\xf6n\n", r"Line 2 of \S*corpus.de is not UTF-8 (byte 0xf6); save the file as UTF-8."),
        ("corpus.de", "gut\nschön\n".encode("utf-16"), "Line 1 of"),
        ("corpus.de", "gut\nschön\n".encode("utf-16-le"), "has NUL in its first line, as UTF-16 has it"),
        ("corpus.de.gz", None, "is not a whole gzip file"),
        ("corpus.de.zst", None, "is not a whole Zstandard file"),
    ],
)
def test_damaged_files_are_refused_by_line(write, tmp_path, name, content, message):
    """A corpus of two encodings, or one whose download broke off."""
    if content is None:
        whole = b"gut\nsehr\n" * 999
        content = gzip.compress(whole) if name.endswith("gz") else _zstd().compress(whole)
        path = tmp_path / name
        path.write_bytes(content[:-9])
    else:
        path = write(name, content)
    said = refused([write("corpus.en", "a\nb\n"), path])
    assert message.replace(r"\S*", f"{tmp_path}/") in said


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.tmx", TMX.replace("</body></tmx>", ""), "is not a whole TMX file: no element found: line"),
        ("a.tmx", TMX.replace("de", "sv"), "no unit with both 'en' and 'de'; its languages are"),
        ("a.txt", "A b.\tC d.\nA b.\n", "Line 2 of {}/a.txt has 1 columns, expected 2: source and target, one tab"),
        ("a.txt", "A b.\tC d.\t0.5\nA b.\tC d.\tx\n", "Line 2 of {}/a.txt has 'x' where the score stands"),
        ("a.txt", "A b.\tC d.\tE f.\n", "Line 1 of {}/a.txt has three columns, and neither the last nor the first"),
        ("a.en", "a\n", "a.en is one side of a corpus: give the other one behind it"),
    ],
)
def test_other_files_are_refused_in_a_sentence(write, tmp_path, name, content, message):
    assert message.format(tmp_path) in refused([write(name, content)])


def test_what_is_no_corpus_is_refused(write):
    table, side = write("pairs.csv", "en,de\na,b\n"), write("corpus.de", "a\n")
    assert "pairs.csv is no side of a corpus in two files" in refused([table, side])
    assert "Cannot read 3 files of pairs at once" in refused([side] * 3)
    assert "There is no file" in refused([side.with_name("corpus.en"), side])
    for named in ("opus:Europarl/v8", "sacrebleu:wmt20"):
        assert recognized_pairs([named]) == named.partition(":")[0]


def test_a_task_reads_all_of_them(write):
    """Whatever the files, the splits have the columns of the languages, without pairs that lack a side."""
    pairs = [(f"text {number}", f"Satz {number}") for number in range(6)]
    files = two_files(write, [*pairs, ("", "leer")])
    columns = write("test.tsv", "".join(f"{one}\t{other}\n" for one, other in pairs[:2]))
    more = write("more.txt", "more text\n\nand more\n")
    data = translation_dataset(files, [write("memory.tmx", TMX)], columns, unlabeled_file=more)
    assert pairs_of(data.dataset["train"]) == pairs and pairs_of(data.dataset["test"]) == pairs[:2]
    assert len(data.dataset["validation"]) == 2 and data.monolingual["en"] == ["more text", "and more"]
    assert all(rows.column_names == ["en", "de"] for rows in data.dataset.values())


def test_empty_sides_are_named_by_their_line(write):
    files = two_files(write, [("a", "b"), ("c", ""), ("d", " ")])
    with pytest.raises(ValueError, match=r"Line 2 of .*corpus.en and .*corpus.de: a side .* is empty, as in 1 more"):
        translation_dataset(files, files, skip_empty=False)


def test_rows_that_lack_a_key_have_an_empty_side(write):
    """Whichever row it is, the first too."""
    for first, second in [('{"en": "x"}', '{"en": "a", "de": "b"}'), ('{"en": "a", "de": "b"}', '{"en": "x"}')]:
        data = translation_dataset(write("pairs.jsonl", f"{first}\n{second}\n" + '{"en": "c", "de": "d"}\n' * 9))
        assert "x" not in [*data.dataset["train"]["en"], *data.dataset["validation"]["en"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"translation": {"en": "a", "de": "b"}}\n{"x": 1}\n', "Line 2 of .*'translation' holds None"),
        ('{"translation": {"en": "a", "de": "b"}}\n{"translation": {}}\n', "Line 2 of .* and not 'en'"),
        ('[{"translation": {"en": "a", "de": "b"}}, {"translation": {"en": "a"}}]', "Row 2 of .* and not 'de'"),
        ('{"en": "a", "fr": "b"}\n' * 3, "has no column 'de'; its columns are 'en', 'fr'"),
    ],
)
def test_rows_that_are_no_pairs(write, content, message):
    with pytest.raises(ValueError, match=message):
        translation_dataset(write("pairs.json" if content.startswith("[") else "pairs.jsonl", content))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"en": ["a"] * 1001, "de": ["b"] * 1000 + [None]}, None),
        ({"en": [1], "de": ["b"]}, "Row 1 of .*'en' holds 1; expected text"),
        ({"translation": [{"en": "a", "de": "b"}] * 1500 + [None]}, "Row 1501 of .*'translation' holds None"),
        ({"en": ["a"], "fr": ["b"]}, "has no column 'de'; its columns are 'en', 'fr'"),
        ({"en": pa.array([], pa.string()), "de": pa.array([], pa.string())}, "has columns but no rows"),
        ({"en": pa.array([b"\xff"]).view(pa.string()), "de": ["b"]}, "Column 'en' of .* is damaged"),
    ],
)
def test_pairs_of_parquet(tmp_path, columns, message):
    """They are read a thousand rows at a time; an empty side is skipped as elsewhere."""
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    if message is None:
        data = translation_dataset(tmp_path / "pairs.parquet", tmp_path / "pairs.parquet").dataset["train"]
        assert data[:] == {"en": ["a"] * 1000, "de": ["b"] * 1000}
        return
    with pytest.raises(ValueError, match=message):
        translation_dataset(tmp_path / "pairs.parquet", tmp_path / "pairs.parquet")


def test_a_language_may_be_called_like_a_score(write):
    assert read_texts(write("texts.csv", "score,de\na,b\n"), "texts", "score").dataset["score"][:] == ["a"]


SCHEMA = pa.schema([("en", pa.string()), ("de", pa.string())])
LINES = {
    "corpus.en": lambda english, german: english,
    "corpus.de": lambda english, german: german,
    "pairs.jsonl": lambda english, german: json.dumps({"translation": {"en": english, "de": german}}),
    "pairs.csv": lambda english, german: f"{english},{german}",
}
WRITERS = {"pairs.parquet": pq.ParquetWriter, "pairs.arrow": pa.ipc.new_stream}


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [("corpus.en", "corpus.de"), ("pairs.jsonl",), ("pairs.csv",), ("pairs.parquet",), ("pairs.arrow",)],
)
def test_memory_does_not_grow_with_the_corpus(tmp_path, names):
    """Half a million pairs, 100 megabytes of text, would be a gigabyte of Python's objects."""
    peaks = []
    for count in (20_000, 500_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for name in names:
            pairs = (
                [f"{language} {n} {'some words of a sentence ' * 4}" for language in ("en", "de")] for n in range(count)
            )
            if name in WRITERS:  # bit by bit, as a process begins with the peak of the one that starts it
                with WRITERS[name](str(folder / name), SCHEMA) as writer:
                    while some := list(islice(pairs, 10_000)):
                        writer.write_table(pa.table([*map(list, zip(*some, strict=True))], schema=SCHEMA))
                continue
            header = ["en,de"] if name.endswith("csv") else []
            with open(folder / name, "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in chain(header, starmap(LINES[name], pairs)))
        done = run_script("read_corpus.py", *(folder / name for name in names), HF_HOME=str(folder / "home"))
        assert done.returncode == 0, done.stderr[-3000:]
        rows, peak = map(int, done.stdout.split())
        assert rows == count
        peaks.append(peak * 1024)
    mapped = 110e6 if names == ("pairs.arrow",) else 0  # the dataset itself, of which pages stay while there is room
    assert peaks[1] - peaks[0] < 150e6 + mapped
