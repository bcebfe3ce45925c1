"""Corpora by name are downloaded once, from a server on this machine, and whoever has no network is told what to do."""

import functools
import http.server
import io
import threading
import zipfile

import pytest

from hfdistill.data import named_corpora
from hfdistill.data.named_corpora import fetched


@pytest.fixture
def served(tmp_path, monkeypatch):
    """`served(path, content)`: puts a file on the server that stands for OPUS; and the list of what was asked for."""
    root, asked = tmp_path / "www", []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=root))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(named_corpora, "OPUS", address)
    monkeypatch.setattr(named_corpora, "HF_HOME", str(tmp_path / "home"))

    def put(path, content):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        return f"{address}/{path}"

    yield put, asked
    server.shutdown()
    server.server_close()


def archive(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return content.getvalue()


def test_opus_is_asked_once(served, tmp_path):
    """It sorts the languages; whichever way they are asked for, the source comes first."""
    put, asked = served
    put(
        "OPUS-Books/v1/moses/de-en.txt.zip",
        archive(**{"Books.de-en.de": "eins\n", "Books.de-en.en": "one\n", "README": ""}),
    )
    for _ in range(2):
        source, target = fetched("opus:Books/v1", "en_XX", "deu_Latn", for_training=True)
        assert (source.read_text(), target.read_text()) == ("one\n", "eins\n")
    assert fetched("opus:Books/v1", "de", "en") == (target, source)
    assert len(asked) == 1 and sorted(path.name for path in source.parent.iterdir()) == [
        "Books.de-en.de",
        "Books.de-en.en",
    ]


@pytest.mark.parametrize(
    "name, languages, message",
    [
        ("opus:Books/v9", ("en", "de"), r"there is no opus:Books/v9 of these languages \(http://\S+: 404\)"),
        ("opus:Books", ("en", "de"), "opus:Books is no corpus and version, such as opus:Europarl/v8"),
        ("opus:Books/v1", ("src", "tgt"), "is kept by languages, such as en and de: 'src' and 'tgt' are no such pair"),
        ("opus:Bad/v1", ("en", "de"), r"is not the archive of opus:Bad/v1: .*; or download http://\S+ elsewhere"),
        ("sacrebleu:wmt21", ("en", "xh"), "sacrebleu:wmt21 has no en-xh; it has"),
        ("sacrebleu:wnt20", ("en", "de"), "sacreBLEU has no test set 'wnt20'; it has .*wmt20"),
    ],
)
def test_what_is_not_there_is_told(served, name, languages, message):
    served[0]("OPUS-Bad/v1/moses/de-en.txt.zip", b"no archive")
    with pytest.raises(ValueError, match=message):
        fetched(name, *languages)


def test_nobody_trains_on_a_test_set():
    with pytest.raises(ValueError, match="sacrebleu:wmt20 is a test set"):
        fetched("sacrebleu:wmt20", "en", "de", for_training=True)


def test_without_a_network_the_way_out_is_told(monkeypatch, tmp_path):
    """Nothing is left behind that a later call would take for the corpus."""
    monkeypatch.setattr(named_corpora, "OPUS", "http://127.0.0.1:9")
    monkeypatch.setattr(named_corpora, "HF_HOME", str(tmp_path))
    with pytest.raises(
        OSError, match=r"opus:Books/v1 cannot be reached \(.*refused.*\): run this where .* or download"
    ):
        fetched("opus:Books/v1", "en", "de")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_test_set_of_sacrebleu(served, monkeypatch, tmp_path):
    """Its own loader, on files of this machine: of several references the first."""
    from sacrebleu.dataset import DATASETS
    from sacrebleu.dataset.plain_text import PlainTextDataset

    put, _ = served
    urls = [put(f"set.{side}", f"{side} line\n".encode()) for side in ("en", "de", "de2")]
    made = PlainTextDataset("own", data=urls, langpairs={"en-de": ["own.set.en", "own.set.de", "own.set.de2"]})
    made._outdir, made._rawdir = str(tmp_path / "bleu"), str(tmp_path / "bleu" / "raw")
    monkeypatch.setitem(DATASETS, "own", made)
    source, target = fetched("sacrebleu:own", "en", "de")
    assert (source.read_text(), target.read_text()) == ("en line\n", "de line\n")
    monkeypatch.setitem(
        DATASETS, "gone", PlainTextDataset("gone", data=["http://127.0.0.1:9/x"], langpairs={"en-de": ["x", "y"]})
    )
    with pytest.raises(OSError, match="sacrebleu:gone cannot be reached .*`sacrebleu --download gone -l en-de`"):
        fetched("sacrebleu:gone", "en", "de")
