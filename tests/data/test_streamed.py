"""Rows on disk that are written once, and how long they stay."""

import os

import datasets
import pytest
from datasets import Features, Value

from hfdistill.data import streamed
from hfdistill.data.streamed import streamed_dataset


@pytest.fixture
def rows_of(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    return lambda what: streamed_dataset(lambda: [(what,)], Features({"text": Value("string")}), {"what": what})


def test_rows_that_nobody_asks_for_are_removed_and_others_stay(rows_of):
    """Each growth of a store of translations left a file of all of them for good."""
    files = {}
    for what in ("used", "unused", "asked for again"):
        rows = rows_of(what)
        [files[what]] = [one["filename"] for one in rows.cache_files]
    for what in ("unused", "asked for again"):
        kept = os.stat(files[what])
        os.utime(files[what], ns=(kept.st_atime_ns - int(1.1e9 * streamed._SECONDS_KEPT), kept.st_mtime_ns))
    assert rows_of("asked for again")._fingerprint == rows._fingerprint, "other results of these rows are found again"
    rows_of("new")
    assert [what for what, file in files.items() if os.path.exists(file)] == ["used", "asked for again"]
    assert rows_of("unused")["text"][:] == ["unused"]
