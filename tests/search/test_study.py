"""The search: what it chooses from, what it refuses, and that a killed or shared search is one search."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import accuracy, make_args, make_model, make_rows, make_tokenizer

from hfdistill import DistillationTrainer, make_student

optuna = pytest.importorskip("optuna", reason="the extra `search` is not installed")

from hfdistill.search import (  # noqa: E402
    SHAPE,
    Budget,
    Candidate,
    StudentSearch,
    check_search,
    pareto_front,
    parse_count,
    search_space,
)
from hfdistill.search import study as study_module  # noqa: E402
from hfdistill.search.liveness import Presence  # noqa: E402

SCRIPT = Path(__file__).parents[1] / "scripts" / "search_students.py"
FLOAT = optuna.distributions.FloatDistribution


pytestmark = pytest.mark.usefixtures("quick_report")


@pytest.fixture
def teacher():
    return make_model(1, num_hidden_layers=3)


@pytest.fixture
def searching(tmp_path, teacher):
    """`searching(space, **settings)`: a search of tiny students of two short epochs; `.seen` lists what was trained."""
    rows = make_rows(24, teacher_logits=True)

    def build(space, storage="search.log", **settings):
        seen = []

        def new_trainer(student, args):
            seen.append((student, args))
            tokenizer = make_tokenizer()
            splits = {"train_dataset": rows, "eval_dataset": rows.select(range(8))}
            return DistillationTrainer(student, args, processing_class=tokenizer, compute_metrics=accuracy, **splits)

        args = make_args(tmp_path / "out", eval_strategy="epoch")
        search = StudentSearch(
            space,
            lambda shape: make_student(teacher, **{"num_hidden_layers": 1, **shape}),
            new_trainer,
            args,
            tmp_path / storage,
            **settings,
        )
        search.seen = seen
        return search

    return build


def small_space():
    return {"temperature": FLOAT(1.0, 8.0, log=True), "learning_rate": FLOAT(1e-3, 1e-1, log=True)}


# ---- What is searched ----


def test_the_ready_space_names_arguments_and_shapes(teacher):
    """A name that no argument has would be set, and change nothing."""
    space = search_space(teacher)
    assert {"temperature", "alpha", "divergence", "learning_rate", "num_hidden_layers", "layers"} <= set(space)
    args = make_args("unused")
    assert all(name in SHAPE or hasattr(args, name) for name in space)
    assert (space["num_hidden_layers"].low, space["num_hidden_layers"].high) == (1, 2)
    assert not set(SHAPE) & set(search_space(teacher, fixed=SHAPE))


def test_each_trial_trains_a_fresh_student_with_its_values(searching, teacher):
    """A student that goes on from trial to trial looks better and better, whatever is tried."""
    search = searching(search_space(teacher), defaults={"temperature": 3.5, "alpha": 0.5, "seed": 9})
    best = search.run(3)
    assert len(search.candidates) + len([t for t in search.study.trials if t.state.name == "PRUNED"]) == 3
    students = [student for student, _ in search.seen]
    assert len({id(student) for student in students}) == 3
    for (student, args), trial in zip(search.seen, search.study.trials, strict=True):
        assert args.temperature == trial.params["temperature"] and args.divergence == trial.params["divergence"]
        assert (
            isinstance(args.temperature, float)
            and student.config.num_hidden_layers == trial.params["num_hidden_layers"]
        )
        assert args.save_strategy == "no" and not args.push_to_hub
    assert search.study.trials[0].params["temperature"] == 3.5  # the defaults come first
    shape, args = search.values_of(best.values)
    assert set(shape) <= set(SHAPE) and args.learning_rate == best.values["learning_rate"]
    assert args.save_strategy == search.args.save_strategy and args.output_dir == search.args.output_dir
    assert best.score == max(candidate.score for candidate in search.candidates)


def test_the_score_is_the_task_metric_of_the_trained_student(searching):
    """The metric of another split, or of the untrained student, would choose at random."""
    search = searching(small_space())
    best = search.run(1)
    student, args = search.seen[0]
    rows = make_rows(24, teacher_logits=True).select(range(8))
    batch = make_tokenizer().pad({name: rows[name] for name in ("input_ids", "attention_mask")}, return_tensors="pt")
    decided = student.eval()(**batch).logits.argmax(-1).numpy()
    assert best.score == pytest.approx((decided == np.asarray(rows["labels"])).mean())
    assert best.parameters == student.num_parameters() and best.latency_ms > 0


@pytest.mark.parametrize("name", ["temperature", "alpha", "divergence"])
def test_the_loss_is_refused_where_it_changes_its_meaning(searching, name):
    """Optuna would find the alpha or T that makes the loss small, and the student learn nothing."""
    with pytest.raises(ValueError, match=rf"loss cannot be searched by while {name} is searched.*task metric"):
        searching({name: FLOAT(0.1, 0.9)}, metric="loss")
    searching({"learning_rate": FLOAT(1e-3, 1e-1)}, metric="loss")


# ---- Budget and trade-off ----


def test_the_widths_are_those_that_heads_can_be_divided_into():
    assert search_space(make_model(num_attention_heads=4))["hidden_size"].choices == (16, 12, 8, 4)
    assert search_space(make_model(num_attention_heads=2))["hidden_size"].choices == (16, 8)


def test_a_student_over_the_budget_is_not_trained(searching, teacher):
    one, two = (make_student(teacher, depth).num_parameters() for depth in (1, 2))
    search = searching(search_space(teacher, fixed=["hidden_size"]), budget=Budget(max_parameters=(one + two) / 2))
    best = search.run(2)
    assert best.parameters == one and best.values["num_hidden_layers"] == 1
    assert all(candidate.parameters == one for candidate in search.candidates)


def test_a_budget_that_nothing_fits_is_an_error(searching, teacher):
    """A search for what cannot be found would never end, and one that makes each student 50 times nearly so."""
    search = searching(search_space(teacher), budget=Budget(max_parameters=10))
    with pytest.raises(ValueError, match=r"50 students in a row are over the budget, the last with .* over 10;"):
        search.run(1)
    sizes = {(trial.params["num_hidden_layers"], trial.params["hidden_size"]) for trial in search.study.trials}
    assert len(search.seen) == len(sizes) < 50


def test_a_larger_budget_is_for_students_that_were_passed_over_too(searching):
    """What was over the last budget may fit this one: the file remembers costs, and no verdicts."""
    with pytest.raises(ValueError, match="over the budget"):
        searching(small_space(), budget=Budget(max_parameters=10)).run(1)
    assert searching(small_space(), budget=Budget(max_parameters=10**9)).run(1).score > 0


def test_a_latency_over_the_budget_is_measured_again(searching, monkeypatch):
    """A busy moment would rule out a size for good."""
    times = iter([9.0, *[1.0] * 60])
    monkeypatch.setattr(study_module, "_latency_ms", lambda trainer: next(times))
    fixed = search_space(make_model(), fixed=["num_hidden_layers", "hidden_size"])
    assert searching(fixed, budget=Budget(max_latency_ms=5.0)).run(1).latency_ms == 1.0


def test_a_trade_off_has_a_front(searching, tmp_path):
    """Both goals are kept with every student, and the front is of those that none beats."""
    search = searching(small_space(), trade_off=True)
    search.run(3)
    assert len(search.study.directions) == 2 and len(search.candidates) == 3
    assert search.front and search.front == pareto_front(search.candidates)
    assert search.best.score == max(candidate.score for candidate in search.candidates)
    with pytest.raises(ValueError, match="holds a search for 2 goals: name another file"):
        searching(small_space())


def test_students_of_one_shape_are_equally_fast(searching):
    """While another program ran the same student took twice as long; that is no property of it."""
    search = searching(small_space(), trade_off=True)
    search.run(2)
    measured = [trial.user_attrs["latency_ms"] for trial in search.study.trials]
    assert [candidate.latency_ms for candidate in search.candidates] == [min(measured)] * 2


def test_the_front_by_hand():
    """Slower and no better is beaten; slower and better is not."""
    scores = {"a": (0.7, 1.0), "b": (0.7, 2.0), "c": (0.9, 3.0), "d": (0.8, 4.0), "e": (0.95, 5.0), "f": (0.6, 1.0)}
    students = [Candidate({"name": name}, score, latency, 1) for name, (score, latency) in scores.items()]
    assert [one.values["name"] for one in pareto_front(students)] == ["a", "c", "e"]


@pytest.mark.parametrize(
    ("text", "number"), [("5M", 5e6), ("66000000", 66e6), ("0.5b", 5e8), ("20k", 2e4), (None, None)]
)
def test_counts_are_read_with_their_letter(text, number):
    assert parse_count(text) == number


@pytest.mark.parametrize("text", ["few", "", "nan", "inf", "-5M", "5MM", "5 M", "1e400x", "٣M"])
def test_a_count_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="max_parameters: .* should be a number, such as 5M"):
        parse_count(text)


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["max_parameters", "max_latency_ms"])
def test_a_budget_of_nothing_or_of_everything_is_none(name, cost):
    """With NaN no student would ever be over it."""
    with pytest.raises(ValueError, match=f"{name} must be a finite number greater than 0; got {cost}"):
        Budget(**{name: cost})


# ---- One search, whatever happens ----


def test_a_finished_search_is_read_back(searching):
    """A second run of the same command trains nothing and finds the same student."""
    best = searching(small_space()).run(2)
    again = searching(small_space())
    assert again.run(2) == best and not again.seen


def test_a_file_of_another_space_is_refused(searching):
    """Values of another search would be taken for this one's."""
    searching(small_space()).run(1)
    with pytest.raises(ValueError, match="a search of another space: it differs in alpha; name another file"):
        searching({**small_space(), "alpha": FLOAT(0.1, 0.9)})


def test_a_trial_that_another_process_has_just_begun_is_no_other_space(searching):
    """Its values are in the file one by one: who looks in between sees a part of them."""
    space = {**small_space(), "alpha": FLOAT(0.1, 0.9)}
    begun = searching(space).study.ask()
    begun.suggest_float("alpha", 0.1, 0.9)
    searching(space)
    with pytest.raises(ValueError, match="it differs in alpha"):
        searching({**space, "alpha": FLOAT(0.2, 0.9)})


def test_a_missing_package_is_named_first(monkeypatch):
    monkeypatch.setattr(study_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install .*\[search\]'"):
        check_search()


def test_a_bad_student_is_given_up(searching, monkeypatch):
    """Behind the median of its elders at the same step, it is not trained to its end."""
    pruner = optuna.pruners.ThresholdPruner(lower=2.0)  # no accuracy reaches it
    search = searching(small_space())
    search.study.pruner = pruner
    with pytest.raises(ValueError, match="no student was trained to its end"):
        search.run(1)
    [trial] = search.study.trials
    assert trial.state.name == "PRUNED" and len(trial.intermediate_values) == 1


def test_the_plots_are_saved(searching, tmp_path):
    """Optuna's own and the front; with one student there is nothing to plot."""
    search = searching(small_space())
    search.run(1)
    assert search.save_plots(tmp_path / "plots") == []
    search.run(3)
    saved = search.save_plots(tmp_path / "plots")
    assert len(saved) == 5 and all(path.stat().st_size > 1000 for path in saved)


def values_in(storage):
    backend = optuna.storages.journal.JournalFileBackend(str(storage))
    study = optuna.load_study(study_name="students", storage=optuna.storages.JournalStorage(backend))
    return [(trial.params, trial.values) for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def start(folder, storage, trials):
    command = [sys.executable, str(SCRIPT), str(folder), str(storage), str(trials)]
    environment = {**os.environ, "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def begun_by_one_who_is_gone(search, defaults):
    """A trial of the defaults whose process was killed while it trained."""
    search.study.enqueue_trial(defaults)
    with Presence(search.storage) as gone:
        trial = search.study.ask()
        trial.set_user_attr("process", gone.name)
        trial.suggest_float("temperature", 1.0, 8.0, log=True)


def states(search):
    return [trial.state.name for trial in search.study.get_trials(deepcopy=False)]


def test_the_defaults_are_tried_again_where_their_process_was_killed(searching):
    """In a container that was started anew its number is that of the process that asks: it ran for ever."""
    defaults = {"temperature": 2.0, "learning_rate": 0.05}
    begun_by_one_who_is_gone(searching(small_space()), defaults)
    search = searching(small_space(), defaults=defaults)
    search.run(2)
    assert states(search) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.params == defaults for trial in search.study.trials] == [False, True, False]
    again = searching(small_space(), defaults=defaults)
    again.run(2)
    assert not again.seen and [path.name for path in Path(search.storage).parent.glob("search.log*")] == ["search.log"]


def test_the_defaults_are_tried_where_all_else_is_done(searching):
    """Others may have trained all students that were asked for while the defaults' process was killed."""
    defaults = {"temperature": 2.0, "learning_rate": 0.05}
    searching(small_space()).run(1)
    begun_by_one_who_is_gone(searching(small_space()), defaults)
    search = searching(small_space(), defaults=defaults)
    search.study.enqueue_trial(defaults)  # somebody else was as quick to see it, and killed as well
    search.run(1)
    assert states(search) == ["COMPLETE", "FAIL", "COMPLETE"] and search.study.trials[2].params == defaults


def test_a_trial_that_runs_elsewhere_is_left_alone(searching):
    search = searching(small_space())
    with Presence(search.storage) as other:
        search.study.ask().set_user_attr("process", other.name)
        search.study.ask()  # nobody yet: its process has not named itself
        search.run(1)
    assert states(search) == ["RUNNING", "RUNNING", "COMPLETE"]


def test_an_interrupted_trial_is_given_up_at_once(searching, monkeypatch):
    search = searching(small_space(), defaults={"temperature": 2.0, "learning_rate": 0.05})

    new_trainer = search.new_trainer

    def interrupted(student, args):
        monkeypatch.setattr(search, "new_trainer", new_trainer)
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "new_trainer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.run(2)
    assert states(search) == ["FAIL"]
    search.run(2)
    assert states(search) == ["FAIL", "COMPLETE", "COMPLETE"] and search.study.trials[1].params["temperature"] == 2.0


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_same_end(tmp_path):
    """The same values in the same order as if nothing had happened: what was lost is tried again."""
    whole = start(tmp_path / "a", tmp_path / "whole.log", 4)
    killed = start(tmp_path / "b", tmp_path / "killed.log", 4)
    while killed.poll() is None and "begins 2" not in (killed.stdout.readline() or "begins 2"):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(values_in(tmp_path / "killed.log")) < 4, "it was killed too late to prove anything"
    resumed = start(tmp_path / "b", tmp_path / "killed.log", 4)
    for process in (whole, resumed):
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
    assert values_in(tmp_path / "killed.log") == values_in(tmp_path / "whole.log")


@pytest.mark.slow
def test_processes_share_the_trials_of_one_file(tmp_path):
    """Two processes do the work once, with values of their own each."""
    processes = [start(tmp_path / name, tmp_path / "shared.log", 6) for name in "ab"]
    for process in processes:
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
    values = values_in(tmp_path / "shared.log")
    assert 6 <= len(values) <= 7
    assert len({tuple(params.items()) for params, _ in values}) == len(values)
