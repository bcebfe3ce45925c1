"""Rows written to disk as they are read, once: datasets larger than memory, from whatever yields rows."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets import Dataset, Features, concatenate_datasets
from huggingface_hub.utils import WeakFileLock

#: Rows that are in memory at once.
ROWS_AT_ONCE = 1_000
#: How long rows stay that nobody asks for.
_SECONDS_KEPT = 30 * 24 * 3600.0


def streamed_dataset(
    rows: Callable[[], Iterable[tuple[Any, ...]]], features: Features, depends_on: Mapping[str, Any]
) -> Dataset:
    """A dataset on disk, in the cache of `datasets`; memory does not grow with it.

    It is written by the first process that asks for it, and by nobody where it is there already. What was not asked for
    in thirty days is removed when something else is written.

    Args:
        rows: Yields the rows, each a value for every feature; called where they are not in the cache.
        features: The columns.
        depends_on: What the rows depend on, for JSON: others are not taken for them.
    """
    content = json.dumps({**depends_on, "features": str(features)}, sort_keys=True)
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "hfdistill" / hashlib.sha256(content.encode()).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.arrow"
    with WeakFileLock(folder / "lock"):
        if new := not file.exists():
            _write(rows(), features.arrow_schema, file)
        written = file.stat().st_mtime_ns  # part of the fingerprint, and so left as it is
        with suppress(PermissionError):  # of somebody who shares the cache
            os.utime(file, ns=(time.time_ns(), written))
    if new:
        _remove_unused(folder.parent)
    return Dataset.from_file(str(file))


def _remove_unused(place: Path) -> None:
    """Removes what nobody has asked for in a month: a store that grows leaves a file of each of its sizes."""
    for file in place.glob("*/rows.arrow"):
        with suppress(OSError):  # another process was faster, or it is somebody else's
            if _is_unused(file):
                with WeakFileLock(file.parent / "lock"):
                    if _is_unused(file):  # still: somebody may have asked in between
                        file.unlink()


def _is_unused(file: Path) -> bool:
    return time.time() - file.stat().st_atime > _SECONDS_KEPT


def stamps(source: Sequence[Path] | Dataset) -> Any:
    """What changes with the rows of files or of a dataset: a file that has changed since is read anew."""
    if isinstance(source, Dataset):
        return source._fingerprint
    return [(os.path.abspath(path), path.stat().st_size, path.stat().st_mtime_ns) for path in source]


def _write(rows: Iterable[tuple[Any, ...]], schema: pa.Schema, file: Path) -> None:
    """Writes the file whole or not at all."""
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    try:
        with pa.OSFile(str(unfinished), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            left = iter(rows)
            while some := list(islice(left, ROWS_AT_ONCE)):
                columns = list(map(pa.array, zip(*some, strict=True), schema.types))
                writer.write_batch(pa.record_batch(columns, schema=schema))
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


def row_tuples(rows: Dataset, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The values of each row in some columns, read a few rows at a time."""
    for batch in rows.select_columns(list(names)).with_format(None).iter(ROWS_AT_ONCE):
        yield from zip(*(batch[name] for name in names), strict=True)


def with_columns(rows: Dataset, others: Dataset) -> Dataset:
    """The rows with the columns of another dataset behind theirs, which stay where they are; in the rows' format."""
    kept = rows.format
    if len(rows):
        both = concatenate_datasets([rows.with_format(None), others], split=rows.split, axis=1)
    else:  # `concatenate_datasets` would leave all columns but the first dataset's out
        features = Features({**rows.features, **others.features})
        both = Dataset.from_dict(dict.fromkeys(features, []), features=features, split=rows.split)
    columns = [*kept["columns"], *others.column_names]
    return both.with_format(kept["type"], columns, kept["output_all_columns"], **kept["format_kwargs"])
