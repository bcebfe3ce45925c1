"""Which files of a user's can be read, told before anything is imported to read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hfdistill.models.languages import language_of

ENDINGS = ("csv", "tsv", "json", "jsonl", "parquet")
#: What files may be compressed as, all but Parquet, which is so itself.
COMPRESSED = (".gz", ".zst")
#: Where texts come from that are known by name, such as `opus:Europarl/v8` or `sacrebleu:wmt20`.
NAMED = ("opus", "sacrebleu")


def recognized(path: str | Path) -> tuple[Path, str]:
    """A file and its kind, one of `ENDINGS`; all but Parquet may be compressed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another kind.
    """
    path = Path(path)
    ending = ending_of(path)
    if ending not in ENDINGS or (ending == "parquet" and compression_of(path)):
        known = ", ".join(f".{known}" for known in ENDINGS)
        raise ValueError(
            f"Cannot read {path}: its ending must be one of {known} (all but .parquet also with .gz or .zst)."
        )
    return _existing(path), ending


def recognized_pairs(files: Sequence[str | Path]) -> str:
    """How pairs of texts are kept: as `table`, `columns`, `tmx`, `two files`, or by name as `opus` or `sacrebleu`.

    Args:
        files: One file, or the two of a corpus with a sentence a line.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another kind.
    """
    if len(files) == 1 and (kind := named_source(files[0])):
        return kind
    endings = [ending_of(file) for file in files]
    if len(files) == 2:
        for file, ending in zip(files, endings, strict=True):
            if ending in (*ENDINGS, "tmx") or named_source(file):
                raise ValueError(
                    f"{file} is no side of a corpus in two files, which have a sentence a line: give it alone, or two "
                    "text files such as corpus.en corpus.de."
                )
            _existing(Path(file))
        return "two files"
    if len(files) > 2:
        raise ValueError(f"Cannot read {len(files)} files of pairs at once: give one, or the two sides of one corpus.")
    if endings[0] in ("tmx", "txt"):
        _existing(Path(files[0]))
        return "tmx" if endings[0] == "tmx" else "columns"
    if language_of(endings[0]):
        raise ValueError(
            f"{files[0]} is one side of a corpus: give the other one behind it, such as corpus.en corpus.de."
        )
    recognized_or_corpus(files[0])
    return "table"


def recognized_texts(path: str | Path) -> str:
    """How texts of one language are kept: as `lines` or in a `table`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another kind.
    """
    if ending_of(path) == "txt" or language_of(ending_of(path)):
        _existing(Path(path))
        return "lines"
    recognized_or_corpus(path, ("txt",))
    return "table"


def recognized_or_corpus(path: str | Path, others: Sequence[str] = ("tmx", "txt")) -> tuple[Path, str]:
    """As `recognized`, whose refusal also names `others`, kinds of texts that are no tables."""
    if ending_of(path) in ENDINGS:
        return recognized(path)
    known = ", ".join(f".{known}" for known in (*ENDINGS, *others))
    raise ValueError(
        f"Cannot read {path}: its ending must be one of {known} (all but .parquet also with .gz or .zst), or a "
        "language as in corpus.en."
    )


def named_source(file: str | Path) -> str:
    """`opus` or `sacrebleu` where texts are named, not kept in a file; else nothing."""
    prefix, _, name = str(file).partition(":")
    return prefix if prefix in NAMED and name else ""


def ending_of(path: str | Path) -> str:
    """`de` of `corpus.de.gz`, in small letters."""
    name = Path(path).name
    compression = compression_of(path)
    return name[: len(name) - len(compression)].lower().rpartition(".")[2]


def compression_of(path: str | Path) -> str:
    """`.gz`, `.zst` or nothing."""
    return next((ending for ending in COMPRESSED if Path(path).name.lower().endswith(ending)), "")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} (looked in {Path.cwd()}).")
    return path
