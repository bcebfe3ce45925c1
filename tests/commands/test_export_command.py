"""`hfdistill export` of what is no classifier: measured as its task is, and in the folder of its library."""

import gzip
import json
import re
import sys

import pytest
import torch
from texts import TEXTS, make_tokenizer
from tiny_seq2seq import make_translator
from tiny_translators import BACKWARDS, save_trained_translator
from transformers import BertConfig, BertForMultipleChoice, BertForTokenClassification, BertModel

from hfdistill import as_sentence_encoder
from hfdistill.commands.early import refuse_early
from hfdistill.commands.main import main
from hfdistill.commands.texts_to_translate import texts_to_translate
from hfdistill.commands.tool_options import PARSERS
from hfdistill.models.pooling import Pooling

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="the extra `export` is not installed")


def save(kind, folder):
    torch.manual_seed(1)
    tokenizer = make_tokenizer()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    model = kind(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.4, **sizes))
    for part in (as_sentence_encoder(model, "cls") if kind is BertModel else model, tokenizer):
        part.save_pretrained(folder)


@pytest.fixture
def exported(monkeypatch, capsys):
    """`exported(*words)`: the lines that the command prints."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hfdistill", "export", *map(str, words)])
        main()
        return capsys.readouterr().out.strip().splitlines()

    return run


@pytest.mark.slow
def test_a_model_of_multiple_choice(tmp_path, exported):
    save(BertForMultipleChoice, tmp_path / "student")
    rows = [{"question": text, "endings": TEXTS[: 2 + n % 3], "label": n % 2} for n, text in enumerate(TEXTS[:9])]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    *_, line, scores = exported(tmp_path / "student", tmp_path / "rows.jsonl", "--formats", "onnx")
    assert "100.0 % of the decisions are the model's" in line and "9 rows" in line
    own, other = re.findall(r"0\.\d{4}", scores)
    assert (
        scores.startswith("accuracy: model ")
        and own == other
        and (tmp_path / "student" / "onnx" / "model.onnx").exists()
    )


@pytest.mark.slow
def test_a_sentence_encoder_goes_with_its_pooling(tmp_path, exported):
    save(BertModel, tmp_path / "student")
    lines = ["sentence1,sentence2,score", *(f"{text},so {text[::-1]},{n / 9}" for n, text in enumerate(TEXTS[:9]))]
    (tmp_path / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    words = ("--formats", "onnx", "--output_dir", tmp_path / "out")
    *_, line, scores = exported(tmp_path / "student", tmp_path / "pairs.csv", *words)
    assert "decisions" not in line and scores.startswith("spearman: model ")
    assert Pooling.read(str(tmp_path / "out")) == Pooling("cls", normalize=True)


def test_a_tagger_is_refused_with_a_way_out(tmp_path, exported, capsys):
    """It got a new head, whose exports were right and meant nothing."""
    save(BertForTokenClassification, tmp_path / "tagger")
    (tmp_path / "texts.csv").write_text("text\na b\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        exported(tmp_path / "tagger", tmp_path / "texts.csv")
    assert "is a BertForTokenClassification" in f"{ended.value.code} {capsys.readouterr().err}"


@pytest.fixture(scope="module")
def translators(tmp_path_factory):
    """A folder with a translator, and pairs in all forms that `hfdistill translate` reads."""
    pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")
    folder = tmp_path_factory.mktemp("translators")
    for part in make_translator():
        part.save_pretrained(folder / "student")
    sides = ["".join(f"{text}\n" for text in side[:9]) for side in (TEXTS, BACKWARDS)]
    pairs = "".join(f"{text}\t{other}\n" for text, other in list(zip(TEXTS, BACKWARDS, strict=True))[:9])
    for name, text in {"mono.txt": sides[0], "c.en": sides[0], "c.de": sides[1], "columns.tsv": pairs}.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "columns.txt").write_text(pairs.replace("\n", "\t0.5\n"), encoding="utf-8")
    for name, text in zip(("z.en.gz", "z.de.gz"), sides, strict=True):
        (folder / name).write_bytes(gzip.compress(text.encode()))
    (folder / "table.tsv").write_text(f"en\tde\n{pairs}", encoding="utf-8")
    tu = "<tu><tuv xml:lang='en'><seg>{}</seg></tuv><tuv xml:lang='de'><seg>{}</seg></tuv></tu>"
    units = "".join(tu.format(*pair.split("\t")) for pair in pairs.splitlines())
    (folder / "memory.tmx").write_text(f"<tmx><body>{units}</body></tmx>", encoding="utf-8")
    return folder


NAMED = ("--text_column", "en", "--text_pair_column", "de")


@pytest.mark.parametrize(
    ("words", "translated"),
    [
        (("mono.txt",), False),
        (("mono.txt", "--text_column", "en"), False),
        (("c.en",), False),
        (("c.en", "c.de"), True),
        (("c.de", "c.en", *NAMED), True),
        (("z.en.gz", "z.de.gz"), True),
        (("columns.txt",), True),
        (("columns.tsv",), True),
        (("memory.tmx", *NAMED), True),
        (("table.tsv",), False),
        (("table.tsv", *NAMED), True),
    ],
    ids=str,
)
def test_a_translator_takes_what_it_is_distilled_from(translators, monkeypatch, words, translated):
    """None but tables were read, and of two files the second was no argument."""
    monkeypatch.chdir(translators)
    refuse_early("export", ["student", *words])
    options = PARSERS["export"]().parse_args(["student", *words])
    sources, references = texts_to_translate(options.file, options.text_column, options.text_pair_column)
    assert sources == TEXTS[:9] and references == (BACKWARDS[:9] if translated else None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("memory.tmx",),
            "texts of memory.tmx are in two languages or more: name .*--text_column .*--text_pair_column",
        ),
        (("c.en", "c.de", "--text_column", "en"), "the texts of c.en and c.de are in two languages"),
        (("c.en", *NAMED), "give the other one behind it"),
        (("mono.txt", *NAMED), "Line 1 of mono.txt has 1 columns, expected 2"),
        (("mono.pdf",), r"its ending must be one of .*\.tmx, \.txt"),
    ],
    ids=str,
)
def test_languages_that_cannot_be_known_are_asked_for(translators, monkeypatch, words, sentence):
    monkeypatch.chdir(translators)
    with pytest.raises(SystemExit, match=sentence):
        main(["export", "student", *words, "--formats", "onnx", "--output_dir", "out"])


def test_a_classifier_reads_one_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(BertForMultipleChoice, tmp_path / "student")
    for name in ("c.en", "c.de"):
        (tmp_path / name).write_text("a b\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="student is no translator, which alone reads two files"):
        main(["export", "student", "c.en", "c.de"])
    with pytest.raises(SystemExit, match=r"Cannot read c.en: its ending must be one of .csv"):
        main(["export", "student", "c.en"])


@pytest.mark.slow
def test_a_translator_is_measured_on_two_files(translators, tmp_path, exported):
    save_trained_translator(tmp_path, "student")
    lines = exported(tmp_path / "student", translators / "c.en", translators / "c.de", "--formats", "onnx")
    assert [line.partition(": ")[0] for line in lines] == ["onnx", "model, greedy", "onnx, greedy"]
    assert lines[1].partition(": ")[2] == lines[2].partition(": ")[2] and "BLEU" in lines[1]
