"""A folder of soft targets: what it accepts, what it survives, and that it forgets nothing."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from hfdistill import StaleSoftTargets
from hfdistill.soft_targets.store import KEY_BYTES, SoftTargetStore, default_folder, describe_teacher, row_key

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
    mine, other = SoftTargetStore(folder, MANIFEST), SoftTargetStore(folder, MANIFEST)
    new = row_key({"input_ids": [99]})
    other.add([new], np.full((1, 3), 7.0, np.float32))
    assert new not in mine
    mine.load()
    np.testing.assert_array_equal(mine.rows([new]), np.full((1, 3), 7.0))


def test_a_missing_row_names_the_folder(folder):
    """Machines that do not share a disk each wait for rows that never come."""
    with pytest.raises(KeyError, match=f"{folder} lacks soft targets .* store="):
        SoftTargetStore(folder, MANIFEST).rows([row_key({"input_ids": [99]})])


def test_a_killed_writer_leaves_no_part(folder, monkeypatch):
    """A part cut short by a kill would be read as a whole one, or make the folder unreadable."""

    def killed(*_):
        raise KeyboardInterrupt

    store = SoftTargetStore(folder, MANIFEST)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.replace", killed)
        store.add([row_key({"input_ids": [99]})], np.zeros((1, 3), np.float32))
    leftover = set(folder.iterdir()) - {*folder.glob("part-*.npz"), folder / "manifest.json"}
    assert len(leftover) == 1
    leftover.pop().write_bytes(b"PK half a part")
    np.testing.assert_array_equal(SoftTargetStore(folder, MANIFEST).rows(KEYS), LOGITS)
    assert len(list(folder.glob("part-*.npz"))) == 2


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


def test_another_manifest_is_refused_and_says_what_differs(folder):
    """Soft targets of yesterday's teacher would train today's student."""
    with pytest.raises(StaleSoftTargets, match=r"max_length \(64 there, 32 now\)") as refusal:
        SoftTargetStore(folder, {**MANIFEST, "max_length": 32})
    assert str(folder) in str(refusal.value) and "1234" not in str(refusal.value)
    with pytest.raises(StaleSoftTargets, match=r"revision \(None there, main now\)"):
        SoftTargetStore(folder, {**MANIFEST, "revision": "main"})


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    """`store="."` would scatter parts among the user's files."""
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(ValueError, match="is not empty and holds no soft targets"):
        SoftTargetStore(tmp_path, MANIFEST)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_row_is_known_by_all_that_the_teacher_reads_and_by_nothing_else():
    """A pair read as one text, or another splitting of the same numbers, would share one answer."""
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


def test_the_manifest_tells_teachers_and_tokenizers_apart(tiny_bert, tokenizer, other_tokenizer):
    """Whatever it does not tell apart shares one default folder, and so one set of answers."""
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
    assert len({default_folder(describe_teacher(*variant)) for variant in variants}) == len(variants)
    again = describe_teacher(tiny_bert(), copy.deepcopy(tokenizer), 64)
    assert again == describe_teacher(teacher, tokenizer, 64)
    assert json.loads(json.dumps(again)) == again
