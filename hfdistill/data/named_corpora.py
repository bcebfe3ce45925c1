"""Corpora known by name, downloaded once: training pairs of OPUS, test sets of sacreBLEU."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from huggingface_hub.constants import HF_HOME

from hfdistill.data.shortening import cut
from hfdistill.models.extras import install_hint
from hfdistill.models.languages import language_of

OPUS = "https://object.pouta.csc.fi"
_SECONDS = 60


def fetched(name: str, source: str, target: str, for_training: bool = False) -> tuple[Path, Path]:
    """The two files of a named corpus, downloaded where they are not kept already.

    Args:
        name: `opus:CORPUS/VERSION`, such as `opus:Europarl/v8` (Tiedemann 2012), or `sacrebleu:TEST_SET`, such as
            `sacrebleu:wmt20` (Post 2018), of whose references the first is taken.
        source: The source language.
        target: The target language.
        for_training: Whether a model will learn from them, which a test set is not for.

    Raises:
        ImportError: where sacreBLEU is needed and not installed.
        OSError: when the corpus cannot be reached.
        ValueError: when there is none of this name, or not of these languages.
    """
    one, other = language_of(source), language_of(target)
    if not (one and other):
        raise ValueError(f"{name} is kept by languages, such as en and de: {source!r} and {target!r} are no such pair.")
    kind, _, corpus = name.partition(":")
    if kind == "opus":
        return _opus(corpus, one, other)
    if for_training:
        raise ValueError(
            f"{name} is a test set, on which nobody who trained on it can be measured: name a corpus of OPUS."
        )
    return _test_set(corpus, one, other)


def _opus(corpus: str, source: str, target: str) -> tuple[Path, Path]:
    name, _, version = corpus.partition("/")
    if not version or "/" in version:
        raise ValueError(
            f"opus:{corpus} is no corpus and version, such as opus:Europarl/v8; https://opus.nlpl.eu lists them."
        )
    first, second = sorted((source, target))
    folder = Path(HF_HOME) / "hfdistill" / "opus" / name / version
    files = {language: folder / f"{name}.{first}-{second}.{language}" for language in (first, second)}
    if not all(file.exists() for file in files.values()):
        url = f"{OPUS}/OPUS-{name}/{version}/moses/{first}-{second}.txt.zip"
        _download(f"opus:{corpus}", url, list(files.values()))
    return files[source], files[target]


def _download(what: str, url: str, files: list[Path]) -> None:
    """Unpacks a zip archive's members of these names; a file is there whole or not at all."""
    files[0].parent.mkdir(parents=True, exist_ok=True)
    by_hand = f"or download {url} elsewhere, unzip it, and name its two files"
    with tempfile.TemporaryDirectory(dir=files[0].parent) as folder:
        archive = Path(folder) / "archive.zip"
        try:
            with urlopen(url, timeout=_SECONDS) as answer, open(archive, "wb") as copy:
                shutil.copyfileobj(answer, copy)
        except HTTPError as error:
            raise ValueError(
                f"there is no {what} of these languages ({url}: {error.code}); see https://opus.nlpl.eu."
            ) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise OSError(
                f"{what} cannot be reached ({reason}): run this where there is a network, {by_hand}."
            ) from None
        try:
            with zipfile.ZipFile(archive) as members:
                for file in files:
                    members.extract(file.name, folder)
        except (zipfile.BadZipFile, KeyError) as error:
            raise ValueError(f"{url} is not the archive of {what}: {error}; {by_hand}.") from None
        for file in files:
            os.replace(Path(folder) / file.name, file)


def _test_set(name: str, source: str, target: str) -> tuple[Path, Path]:
    try:
        from sacrebleu.dataset import DATASETS
    except ImportError as error:
        raise ImportError(f"test sets by name need sacreBLEU: {install_hint('translation')}.") from error
    if name not in DATASETS:
        close = difflib.get_close_matches(name, DATASETS, n=3) or sorted(DATASETS)
        raise ValueError(f"sacreBLEU has no test set {name!r}; it has {cut(', '.join(close))}.")
    known, pair = DATASETS[name], f"{source}-{target}"
    if pair not in known.langpairs:
        raise ValueError(f"sacrebleu:{name} has no {pair}; it has {cut(', '.join(sorted(known.langpairs)))}.")
    try:
        return Path(known.get_source_file(pair)), Path(known.get_reference_files(pair)[0])
    except (OSError, SystemExit) as error:  # it ends the program where a certificate is not to be had
        raise OSError(
            f"sacrebleu:{name} cannot be reached ({error}): run `sacrebleu --download {name} -l {pair}` where there is "
            "a network, or give a file."
        ) from None
