"""A folder of soft targets: what it accepts, what it survives, and that it forgets nothing."""

import copy
import errno
import hashlib
import json
import os
import random
import time
import tracemalloc
import uuid
from pathlib import Path

import numpy as np
import pytest

from hfdistill import StaleSoftTargets
from hfdistill.models.fingerprints import describe_teacher
from hfdistill.soft_targets.store import KEY, KEY_BYTES, SoftTargetStore, own_folder, row_key

MANIFEST = {"teacher weights": "1234", "max_length": 64}
KEYS = [row_key({"input_ids": [number]}) for number in range(5)]
LOGITS = np.arange(15, dtype=np.float32).reshape(5, 3)


@pytest.fixture
def folder(tmp_path):
    """A store of five rows in two parts."""
    store = SoftTargetStore(tmp_path / "store", MANIFEST)
    store.add(KEYS[:3], LOGITS[:3])
    store.add(KEYS[3:], LOGITS[3:])
    return store.folder


def test_what_was_added_is_read_back(folder):
    """A key cut at the wrong byte, or parts read in another order, would give a row another's logits."""
    store = SoftTargetStore(folder, MANIFEST)
    order = [4, 0, 2, 2, 3, 1]
    np.testing.assert_array_equal(store.rows(KEYS[row] for row in order), LOGITS[order])
    assert store.rows(KEYS).dtype == np.float32


def test_one_store_sees_what_another_adds(folder):
    """Processes that share a folder would each miss the others' rows."""
    first, other = SoftTargetStore(folder, MANIFEST), SoftTargetStore(folder, MANIFEST)
    new = row_key({"input_ids": [99]})
    other.add([new], np.full((1, 3), 7.0, np.float32))
    assert new not in first
    first.load()
    np.testing.assert_array_equal(first.rows([new]), np.full((1, 3), 7.0))


def test_a_missing_row_names_the_folder(folder):
    """Machines that do not share a disk each wait for rows that never come."""
    with pytest.raises(KeyError, match=f"{folder} lacks soft targets .* store="):
        SoftTargetStore(folder, MANIFEST).rows([row_key({"input_ids": [99]})])


def todays_key(row):
    """A row's key, as the first release of the store has computed it."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(row):
        array = np.asarray(row[name])
        whole = array.dtype.kind in "bui" or not array.size
        content = array.astype(np.int64).tobytes() if whole else str(array.dtype).encode() + array.tobytes()
        digest.update(name.encode() + b"\0" + content)
    return digest.digest()


def test_a_folder_of_the_first_release_is_read(tmp_path):
    """Keys computed otherwise would run the teacher again on everything that anybody has kept."""
    rng = np.random.default_rng(0)
    rows = [{"input_ids": rng.integers(0, 99, n).tolist(), "box": rng.random((n, 2)).tolist()} for n in range(1, 9)]
    rows += [{"input_ids": [], "box": []}, {"input_ids": [3], "box": [[True, False]]}]
    keys = [todays_key(row) for row in rows]
    assert [row_key(row) for row in rows] == keys
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    logits = np.arange(len(rows) * 2, dtype=np.float32).reshape(-1, 2)
    np.savez(tmp_path / f"part-{'0' * 32}.npz", keys=np.frombuffer(b"".join(keys), np.uint8), logits=logits)
    np.testing.assert_array_equal(SoftTargetStore(tmp_path, MANIFEST).rows(keys[::-1]), logits[::-1])


def test_keys_that_begin_or_end_alike_are_told_apart(tmp_path):
    """The first half of a key alone, or numpy's strings without the zeros at their end, would mix up rows."""
    keys = [b"8 bytes " + end for end in (b"b" * 8, b"\0" * 8, b"a" * 8, b"a" * 7 + b"\0")] + [b"\0" * 16]
    store = SoftTargetStore(tmp_path, MANIFEST)
    store.add(keys[:4], np.arange(8, dtype=np.float32).reshape(4, 2))
    store.add(keys[4:], np.full((1, 2), 9, np.float32))
    np.testing.assert_array_equal(store.rows(keys[::-1])[:, 0], [9, 6, 4, 2, 0])
    assert store.places([b"8 bytes " + b"c" * 8, b"9" * 16, b"\xff" * 16]).tolist() == [-1, -1, -1]


@pytest.mark.parametrize(("count", "classes"), [(300_000, 1), (120_000, 77)])
def test_many_rows_are_found_at_once(tmp_path, count, classes):
    """Of the processor's seconds, as other processes may be running: 300,000 a second is a third of what was seen."""
    store, rng = SoftTargetStore(tmp_path, MANIFEST), np.random.default_rng(0)
    keys = np.frombuffer(rng.bytes(16 * count), KEY)
    logits = np.arange(count * classes, dtype=np.float32).reshape(count, classes)
    for part in np.array_split(np.arange(count), 4):
        store.add(keys[part], logits[part])
    order = rng.permutation(np.append(np.arange(count), np.arange(99)))  # some rows twice
    store.places(keys[:1])
    began = time.process_time()
    found = store.rows(keys[order])
    assert time.process_time() - began < count / 300_000
    np.testing.assert_array_equal(found, logits[order])


def unfinished(folder, name=f"part-{'0' * 32}.npz", age=0.0):
    """What a writer leaves that was killed so many seconds ago."""
    path = folder / f"{name}.{uuid.uuid4().hex}"
    path.write_bytes(b"PK half a part")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_killed_writer_leaves_no_part(folder):
    """A part cut short by a kill would be read as a whole one, or make the folder unreadable."""
    leftover = unfinished(folder)
    np.testing.assert_array_equal(SoftTargetStore(folder, MANIFEST).rows(KEYS), LOGITS)
    assert leftover.exists() and len(list(folder.glob("part-*.npz"))) == 2


def test_what_is_left_behind_is_swept_and_what_is_being_written_is_not(folder):
    """Killed again and again, writers would fill the disk."""
    old = [unfinished(folder, age=4000), unfinished(folder, "manifest.json", age=4000)]
    young = [unfinished(folder, age=1000), unfinished(folder, "notes.txt", age=4000)]
    store = SoftTargetStore(folder, MANIFEST)
    np.testing.assert_array_equal(store.rows(KEYS), LOGITS)
    assert not any(path.exists() for path in old) and all(path.exists() for path in young)


def test_a_writer_whose_file_was_swept_writes_it_again(folder, monkeypatch):
    """A process that was stopped for an hour, with the laptop's lid closed."""
    original, swept = Path.replace, []

    def replace(self, target):
        if not swept:
            swept.append(self)
            self.unlink()
        return original(self, target)

    store, new = SoftTargetStore(folder, MANIFEST), row_key({"input_ids": [99]})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        store.add([new], np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(SoftTargetStore(folder, MANIFEST).rows([new]), np.ones((1, 3)))


def test_a_full_disk_is_named_and_left_clean(folder, monkeypatch):
    """`No space left on device` alone names no folder, and half a part would stay on the full disk."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store, before = SoftTargetStore(folder, MANIFEST), set(folder.iterdir())
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ValueError, match=rf"{folder} cannot be written to \(No space left on device\): make room"):
        store.add([row_key({"input_ids": [99]})], np.ones((1, 3), np.float32))
    assert set(folder.iterdir()) == before


def test_a_part_is_on_the_disk_before_it_has_its_name(folder, monkeypatch):
    """After a power cut the name may be there, and zeros under it."""
    done = []
    for name in ("fsync", "rename", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(f"os.{name}", lambda *a, name=name, original=original: (done.append(name), original(*a))[1])
    SoftTargetStore(folder, MANIFEST).add([row_key({"input_ids": [99]})], np.ones((1, 3), np.float32))
    assert done == ["fsync", "replace", "fsync"]


def test_a_run_killed_before_its_manifest_was_whole_starts_again(tmp_path):
    """The half-written manifest would make its own folder look like somebody else's, for ever refused."""
    (tmp_path / "manifest.json.0123abcd").write_text('{"teacher')
    SoftTargetStore(tmp_path, MANIFEST).add(KEYS, LOGITS)
    np.testing.assert_array_equal(SoftTargetStore(tmp_path, MANIFEST).rows(KEYS), LOGITS)


@pytest.mark.parametrize("damage", ["cut short", "empty", "a bit flipped", "not a part"])
def test_a_damaged_part_is_passed_over_with_a_warning(folder, damage, caplog):
    """A part hurt by a full disk would stop every later run, or hand out what is left of it."""
    part = max(folder.glob("part-*.npz"), key=lambda path: path.stat().st_size)
    whole = part.read_bytes()
    flipped = whole.replace(LOGITS[:3].tobytes(), LOGITS[1:4].tobytes())
    assert flipped != whole
    damaged = {"cut short": whole[:-40], "empty": b"", "a bit flipped": flipped, "not a part": b"hello"}
    part.write_bytes(damaged[damage])
    store = SoftTargetStore(folder, MANIFEST)
    assert [key in store for key in KEYS] == [False] * 3 + [True] * 2
    np.testing.assert_array_equal(store.rows(KEYS[3:]), LOGITS[3:])
    assert f"{part} is damaged" in caplog.text


def test_no_flipped_bit_and_no_cut_gives_other_logits(folder):
    """Any of them may end in an error of zip's, numpy's or Python's own reading, or in predictions of other rows."""
    [part, *_] = sorted(folder.glob("part-*.npz"))
    whole = part.read_bytes()
    bits = random.Random(0).sample(range(8 * len(whole)), 500)
    damaged = [bytes(b ^ (i == bit // 8) << bit % 8 for i, b in enumerate(whole)) for bit in bits]
    for content in (*damaged, *(whole[:size] for size in range(0, len(whole), 40))):
        part.write_bytes(content)
        store = SoftTargetStore(folder, MANIFEST)
        for key, logits in zip(KEYS, LOGITS, strict=True):
            assert key not in store or np.array_equal(store.rows([key])[0], logits)


@pytest.mark.parametrize("content", [b"", b'{"max_len', b"\xff\xfe", b"[1]", b"null", b"[" * 100_000])
def test_a_damaged_manifest_is_refused(folder, content):
    """A traceback of the JSON reader's names no folder, and no way out."""
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"manifest.json is damaged, so .* soft targets these are: delete {folder}, "):
        SoftTargetStore(folder, MANIFEST)


def test_another_manifest_is_refused_with_what_differs(folder):
    """Soft targets of yesterday's teacher would train today's student."""
    with pytest.raises(StaleSoftTargets, match=r"max_length \(64 there, 32 now\)") as refusal:
        SoftTargetStore(folder, {**MANIFEST, "max_length": 32})
    assert str(folder) in str(refusal.value) and "1234" not in str(refusal.value)
    with pytest.raises(StaleSoftTargets, match=r"revision \(default there, main now\)"):
        SoftTargetStore(folder, {**MANIFEST, "revision": "main"})


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    """`store="."` would scatter parts among the user's files."""
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(ValueError, match="is not empty and holds no soft targets"):
        SoftTargetStore(tmp_path, MANIFEST)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_row_is_known_by_all_that_the_teacher_reads_and_by_nothing_else():
    """A pair read as one text, or another splitting of the same numbers, would share one prediction."""
    row = {"input_ids": [1, 2, 3], "token_type_ids": [0, 0, 1]}
    assert row_key(row) == row_key(dict(reversed(row.items()))) == row_key({k: np.array(v) for k, v in row.items()})
    others = [
        {"input_ids": [1, 2, 3], "token_type_ids": [0, 1, 1]},
        {"input_ids": [1, 3, 2], "token_type_ids": [0, 0, 1]},
        {"input_ids": [1, 2], "token_type_ids": [3, 0, 0, 1]},
        {"input_ids": [1, 2, 3]},
    ]
    assert len({row_key(row), *map(row_key, others)}) == 5
    assert len(row_key(row)) == KEY_BYTES


def test_the_manifest_distinguishes_teachers_and_tokenizers(tiny_bert, tokenizer, other_tokenizer):
    """Whatever it does not tell apart shares one default folder, and so one set of predictions."""
    teacher = tiny_bert()
    fine_tuned = tiny_bert()
    fine_tuned.classifier.bias.data[0] += 1e-6
    variants = [
        (teacher, tokenizer, 64),
        (fine_tuned, tokenizer, 64),
        (tiny_bert().bfloat16(), tokenizer, 64),
        (teacher, other_tokenizer, 64),
        (teacher, tokenizer, 32),
    ]
    assert len({own_folder(describe_teacher(*variant)) for variant in variants}) == len(variants)
    again = describe_teacher(tiny_bert(), copy.deepcopy(tokenizer), 64)
    assert again == describe_teacher(teacher, tokenizer, 64)
    assert json.loads(json.dumps(again)) == again


def test_predictions_stay_on_the_disk(tmp_path):
    """Ten million rows of 77 classes are 3 GB, which each process of a machine would hold for itself."""
    keys = np.frombuffer(np.random.default_rng(0).bytes(16 * 5_000), KEY)
    logits = np.arange(5_000 * 400, dtype=np.float32).reshape(-1, 400)
    SoftTargetStore(tmp_path, MANIFEST).add(keys, logits)
    tracemalloc.start()
    found = SoftTargetStore(tmp_path, MANIFEST).rows(keys[100:110])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, logits[100:110])
    assert peak < logits.nbytes / 4, peak


def test_many_small_parts_are_found_and_few_runs_are_kept(tmp_path, monkeypatch):
    """A stream adds a part for each window: sorted anew each time, or each looked through, it would get slower."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    store, rng = SoftTargetStore(tmp_path, MANIFEST), np.random.default_rng(0)
    keys, logits = np.frombuffer(rng.bytes(16 * 500), KEY), np.arange(1000, dtype=np.float32).reshape(500, 2)
    ends = np.append(0, rng.integers(1, 9, 500).cumsum().clip(max=500))
    for start, end in zip(ends, ends[1:], strict=False):
        store.add(keys[start:end], logits[start:end])
    order = rng.integers(0, 500, 900)
    np.testing.assert_array_equal(store.rows(keys[order]), logits[order])
    assert len(store._runs) < 10
