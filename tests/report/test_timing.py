"""Speed: a machine that slows down slows all models alike, and one network has one speed."""

import pytest
import torch
from datasets import Dataset
from texts import TEXTS
from tiny import make_model
from tiny_seq2seq import make_translator

from hfdistill.models import generation
from hfdistill.report import timing
from hfdistill.report.timing import Job, Timings, interleaved, latencies_ms, one_network, shape_of
from hfdistill.tasks.translation import report as translation_report
from hfdistill.tasks.translation.report import compare_translations


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set: what has gone by."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_a_machine_that_slows_down_favors_no_model(clock):
    """One after the other, the first was timed on the fast machine and the second on the slow one."""

    def job(name, seconds):
        def run(number):
            clock[0] += seconds * (1 + clock[0])  # slower and slower

        return Job(name, run)

    times = interleaved({"teacher": job("t", 0.04), "student": job("s", 0.01)}, rounds=8)
    low, high = times["teacher"].over(times["student"]).quartiles
    assert 3 < low < 4 < high < 5
    assert times["teacher"].median / times["student"].median == pytest.approx(4, rel=0.2)
    assert times["student"].quartiles[0] < times["student"].median < times["student"].quartiles[1]


def test_what_warms_up_is_not_timed_and_all_do_the_same_work(clock):
    """A first call, which fills caches, would be told as the model's speed."""
    done = {"teacher": [], "student": []}

    def job(name):
        def run(number):
            clock[0] += 1.0 if len(done[name]) % 4 > 1 else 100.0
            done[name].append(number)

        return Job(name, run)

    times = interleaved({name: job(name) for name in done}, rounds=3, each=2, warm_up=2)
    assert done["teacher"] == done["student"] == [0, 2, 1, 0, 1, 0, 1, 2, 3, 2, 3, 4, 5]
    assert len(times["teacher"].values) == 6


def test_one_network_is_measured_once():
    """Student and baseline showed two speeds; their predictions do not count, nor do their label names."""
    names = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    models = {
        "teacher": make_model(0, num_hidden_layers=3),
        "student": make_model(1),
        "baseline": make_model(2, **names),
    }
    timed = []
    jobs = {name: Job(shape_of(model), lambda number, name=name: timed.append(name)) for name, model in models.items()}
    times = interleaved(jobs, rounds=4)
    assert set(timed) == {"teacher", "student"} and one_network(times) == [["student", "baseline"]]
    assert times["baseline"] == times["student"] and times["student"] != times["teacher"]


def test_what_is_another_network_is_measured_for_itself():
    model = make_model(1)
    others = [
        make_model(1).half(),
        make_model(1, num_attention_heads=4),
        make_model(1, hidden_act="relu"),
        make_model(1).to("meta"),
        object(),
    ]
    assert len({shape_of(model), *map(shape_of, others)}) == 6
    assert shape_of(model) == shape_of(make_model(2)) != shape_of(model, "other rows")


def test_timings_by_hand():
    timings = Timings((1.0, 2.0, 3.0, 4.0, 5.0))
    assert timings.median == 3 and timings.quartiles == (2, 4) and timings.p95 == pytest.approx(4.8)
    assert timings.map(lambda seconds: 60 / seconds).values[1] == 30
    assert timings.over(Timings((2.0,) * 5)).values == (0.5, 1.0, 1.5, 2.0, 2.5)


class Products:
    """Work that a GPU is given and nobody reads: its calls return at once."""

    inputs = ()

    def __init__(self):
        self.model = torch.nn.Linear(8192, 8192, bias=False, device="cuda")
        self.rows = torch.randn(8192, 8192, device="cuda")

    def predict(self, number, count):
        with torch.no_grad():
            return self.model(self.rows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_waited_for():
    """What was timed would be how fast it is given its work."""
    work = Products()
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(3):
        work.predict(0, 1)
    began.record()
    work.predict(0, 1)
    ended.record()
    torch.cuda.synchronize()
    assert latencies_ms({"student": work})["student"].median > 0.8 * began.elapsed_time(ended) > 1


# ---- Translators ----


@pytest.fixture
def translated(monkeypatch):
    """`translated(num_beams)`: a teacher compared with two students of one shape, and the batches of each."""
    rows = Dataset.from_dict({"en": TEXTS[:9], "de": [" ".join(reversed(text.split())) for text in TEXTS[:9]]})
    teacher, tokenizer = make_translator()
    models = {"teacher": teacher, "student": make_translator(4)[0], "baseline": make_translator(5)[0]}
    models["teacher"].config.name = "another shape"
    timed = []
    translate_batch = translation_report.translate_batch

    def noted(model, tokenizer, texts, num_beams, max_length):
        role = next(role for role, one in models.items() if one is model)
        timed.append((role, num_beams, len(texts)))
        return translate_batch(model, tokenizer, texts, num_beams, max_length)

    for module in (generation, translation_report):
        monkeypatch.setattr(module, "translate_batch", noted)

    def run(num_beams):
        timed.clear()
        settings = {"source": "en", "target": "de", "num_beams": num_beams, "max_length": 12}
        return compare_translations(models, dict.fromkeys(models, tokenizer), rows, **settings), timed

    return run


def test_translators_take_turns_and_one_network_has_one_speed(translated):
    """A teacher came out faster than its student, as each was timed in a time of its own."""
    comparison, timed = translated(2)
    results, models = comparison.results(), comparison.models
    assert comparison.one_network == [["student", "baseline"]]
    for name in ("latency_ms", "examples_per_second", "beam_per_second"):
        for end in ("", "_q1", "_q3"):
            assert (
                results[f"student_{name}{end}"] == results[f"baseline_{name}{end}"] != results[f"teacher_{name}{end}"]
            )
        assert results[f"student_{name}_q1"] <= results[f"student_{name}"] <= results[f"student_{name}_q3"]
    assert results["speedup_q1"] <= results["speedup_q3"] and results["baseline_speedup"] == results["speedup"]
    turns = [role for role, _, count in timed if count == 1]
    assert "baseline" not in turns and turns.index("student") < len(turns) / 2 < len(turns) - turns[::-1].index(
        "teacher"
    )
    assert models["student"].metrics["bleu"] == results["student_bleu"] and "half of them" in comparison.table()


def test_a_beam_of_one_is_greedy_and_measured_once(translated):
    """The same search was run and timed twice, and told as two."""
    comparison, timed = translated(1)
    assert len([role for role, _, count in timed if role == "baseline"]) == 1
    results = comparison.results()
    assert results["student_bleu"] == results["student_greedy_bleu"]
    assert results["student_beam_per_second"] == results["student_examples_per_second"]
    assert "beam" not in comparison.table() and "BLEU, greedy" in comparison.table()
