"""Which files of a user's can be read, told before anything is imported to read them."""

from __future__ import annotations

from pathlib import Path

ENDINGS = ("csv", "tsv", "json", "jsonl", "parquet")


def recognized(path: str | Path) -> tuple[Path, str]:
    """A file and its kind, one of `ENDINGS`; all but Parquet may be gzipped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another kind.
    """
    path = Path(path)
    name = path.name.lower()
    ending = name.removesuffix(".gz").rpartition(".")[2]
    if ending not in ENDINGS or name.endswith(".parquet.gz"):
        known = ", ".join(f".{known}" for known in ENDINGS)
        raise ValueError(f"Cannot read {path}: its ending must be one of {known} (all but .parquet also with .gz).")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} (looked in {Path.cwd()}).")
    return path, ending
