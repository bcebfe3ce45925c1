"""An API's answers on disk, found by where they stand."""

import json
import tracemalloc

from hfdistill.soft_targets.answer_store import AnswerStore


def answer(number):
    tokens = [{"token": f"t{number} {one}", "logprob": -one / 7} for one in range(20)]
    return {"id": f"ä{number}", "choices": [{"logprobs": {"content": [{"top_logprobs": tokens}]}}]}


def test_answers_are_found_whoever_wrote_them_and_whatever_was_cut_off(tmp_path):
    one, other = AnswerStore(tmp_path, {"model": "m"}), AnswerStore(tmp_path, {"model": "m"})
    for number in range(5):
        (one if number % 2 else other).add(f"key {number}", answer(number))
    file = tmp_path / "answers.jsonl"
    file.write_bytes(file.read_bytes() + b'\n["key 9", {"ch')
    one.load()
    one.add("key 10", answer(10))
    other.load()
    again = AnswerStore(tmp_path, {"model": "m"})
    for store in (one, other, again):
        assert all(store[f"key {number}"] == answer(number) for number in (*range(5), 10)) and "key 9" not in store
    keys = [f"key {number}" for number in range(5)]
    assert again.digest(keys) == one.digest(keys) != one.digest(reversed(keys))


def test_answers_are_not_in_memory(tmp_path):
    """Twenty likely tokens took 10 kB, a million such answers 10 GB."""
    AnswerStore(tmp_path, {})
    with (tmp_path / "answers.jsonl").open("w") as file:
        file.writelines(json.dumps([f"{number:032x}", answer(number)]) + "\n" for number in range(2000))
    tracemalloc.start()
    store = AnswerStore(tmp_path, {})
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / 2000 < 300 and store[f"{7:032x}"] == answer(7)
