"""The search itself: trials that train a student each, kept in a file.

Every trial trains a fresh student on the same stored soft targets, and a task metric on the validation rows judges it.
The study is a file: a killed search goes on where it was, and processes that name the same file share its trials.
"""

from __future__ import annotations

import copy
import importlib.util
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_utils import SaveStrategy

from hfdistill.models.extras import install_hint
from hfdistill.models.inference import token_rows
from hfdistill.report.cost import MeasuredModel, size_of
from hfdistill.report.quality import MAIN_METRICS, SINGLE
from hfdistill.report.timing import latencies_ms
from hfdistill.search.liveness import STALE_SECONDS, Presence
from hfdistill.search.space import SHAPE, Budget
from hfdistill.search.trade_off import Candidate, pareto_front, save_search
from hfdistill.training.arguments import DistillationTrainingArguments
from hfdistill.training.trainer import DistillationTrainer

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

#: Under these the loss is another quantity from trial to trial, and cannot be what they are compared by.
_CHANGE_THE_LOSS = ("temperature", "alpha", "divergence", "label_weight", "soft_target_weight")

#: Evaluation rows that latency is measured on.
TIMED_ROWS = 50

NewStudent = Callable[[Mapping[str, Any]], PreTrainedModel]
NewTrainer = Callable[[PreTrainedModel, DistillationTrainingArguments], DistillationTrainer]


def check_search() -> None:
    """Refuses a search that cannot work, before anything expensive is begun.

    Raises:
        ImportError: when Optuna is missing, saying what to install.
        ValueError: under a launcher of several processes, saying how they can share a search.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ImportError(f"a search needs optuna: {install_hint('search')}.")
    if PartialState().num_processes > 1:
        raise ValueError(
            "a search trains one student in one process: start several processes without a launcher, each with its own "
            "output_dir and the same search_storage, and they share the trials."
        )


class StudentSearch:
    """A search whose trials are kept in a file.

    Args:
        space: By name of a training argument or of `SHAPE`, an Optuna distribution, as from `search_space`.
        new_student: Makes an untrained student of a shape (the values of `SHAPE` that the space has).
        new_trainer: Makes the trainer of a student, with tokenized datasets, tokenizer and `compute_metrics`.
        args: The training arguments; each trial gets a copy with its values, and keeps no checkpoint.
        storage: The file.
        metric: The task metric on the evaluation rows, higher is better.
        budget: What a student may cost; a dearer one is passed over untrained.
        trade_off: Whether to look for quality and latency at once: `best` is then the best by quality, and `front`
            holds those that no other beats in both. Nothing is pruned then.
        defaults: The values that are tried first, and again where they were not tried to an end.

    Raises:
        ImportError: when Optuna is missing.
        ValueError: for the loss as a metric where the space changes what the loss is, or a file of another search.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        new_student: NewStudent,
        new_trainer: NewTrainer,
        args: DistillationTrainingArguments,
        storage: str | os.PathLike[str],
        *,
        metric: str = MAIN_METRICS[SINGLE],
        budget: Budget | None = None,
        trade_off: bool = False,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        check_search()
        _refuse_loss(metric, space)
        self.space = dict(space)
        self.new_student = new_student
        self.new_trainer = new_trainer
        self.args = args
        self.metric = metric
        self.budget = budget or Budget()
        self.trade_off = trade_off
        self.storage = storage
        self.study = _open_study(storage, trade_off)
        _refuse_other_space(self.study, self.space, storage)
        self.defaults = {name: value for name, value in (defaults or {}).items() if name in self.space}

    def run(self, trials: int) -> Candidate:
        """Runs until this many students have been trained, here or by others who share the file.

        Processes that share it may train a student more each. The same seed gives the same trials, also after a kill:
        what a process was at that is no more is given up, and tried again.

        Returns:
            The best student within the budget.

        Raises:
            ValueError: when no student fits the budget.
        """
        passed_over = 0
        with Presence(self.storage) as present, tqdm(desc="Searching", total=trials, unit=" students") as bar:
            while self._prepared(present) or len(self._judged()) < trials:
                bar.set_postfix_str(f"{passed_over} in a row over the budget" if passed_over else "")
                bar.update(min(trials, len(self._judged())) - bar.n)
                excess = self._next(present)
                passed_over = passed_over + 1 if excess else 0
                if passed_over >= 50:
                    raise ValueError(f"50 students in a row are over the budget, the last with {excess}; allow more.")
            bar.update(trials - bar.n)
        return self.best

    def _prepared(self, present: Presence) -> bool:
        """Gives up what killed processes were at, and sees to the defaults; whether these are to be tried."""
        _give_up_killed(self.study, present)
        given = [trial.state.name for trial in _trials(self.study) if "fixed_params" in trial.system_attrs]
        if self.defaults and not given:
            self.study.enqueue_trial(self.defaults)
            return True
        return "WAITING" in given

    def _next(self, present: Presence) -> str:
        """Tries the next student; what exceeds the budget, empty where nothing does."""
        import optuna

        trial = self.study.ask()
        trial.set_user_attr("process", present.name)
        # Anew for each trial, from how many came before: so a killed search goes on as it would have gone on, and
        # processes that ask at the same moment get values of their own.
        before = sum(other.number < trial.number for other in _trials(self.study))
        self.study.sampler = optuna.samplers.TPESampler(seed=self.args.seed + before)
        try:
            _suggest(trial, self.space)
            return self._try(trial)
        except optuna.exceptions.UpdateFinishedTrialError:
            return ""  # this process slept for so long that others took it for gone
        except BaseException:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
            raise

    @property
    def best(self) -> Candidate:
        """The student of the best score that was trained to its end."""
        if not self.candidates:
            raise ValueError("no student was trained to its end: allow more trials.")
        return max(self.candidates, key=lambda candidate: candidate.score)

    @property
    def candidates(self) -> list[Candidate]:
        """The students that were trained to their end.

        Of the latencies that were measured for one size the least is each one's: whatever else the machine did while
        the others were measured only added to them.
        """
        finished = [trial for trial in _trials(self.study) if trial.state.name == "COMPLETE"]
        fastest: dict[tuple[Any, ...], float] = {}
        for trial in finished:
            latency = trial.user_attrs["latency_ms"]
            size = _size(trial.params)
            fastest[size] = min(latency, fastest.get(size, latency))
        return [
            Candidate(dict(trial.params), trial.values[0], fastest[_size(trial.params)], trial.user_attrs["parameters"])
            for trial in finished
        ]

    @property
    def front(self) -> list[Candidate]:
        """The Pareto front: the students that no other beats in score and latency at once, the fastest first."""
        return pareto_front(self.candidates)

    def save_plots(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Saves plots of the search as PNG, see `save_search`."""
        return save_search(self.study, self.candidates, self.metric, folder)

    def values_of(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], DistillationTrainingArguments]:
        """The shape and the training arguments of a trial's values."""
        args = copy.copy(self.args)
        for name, value in values.items():
            if name not in SHAPE:
                setattr(args, name, value)
        args.check_ranges()
        return {name: value for name, value in values.items() if name in SHAPE}, args

    def _judged(self) -> list[FrozenTrial]:
        """The trials in which something was trained, to the end or until it was given up."""
        finished = (trial for trial in _trials(self.study) if trial.state.is_finished())
        return [trial for trial in finished if not trial.user_attrs.get("excess")]

    def _try(self, trial: Trial) -> str:
        """Trains and judges one student; what exceeds the budget, empty where nothing does."""
        from optuna import TrialPruned
        from optuna.trial import TrialState

        if excess := self._known_excess(trial):
            return self._pass_over(trial, excess)
        shape, args = self.values_of(trial.params)
        # An evaluation before the first step would be a student's score for the pruner.
        changes = {"save_strategy": SaveStrategy.NO, "load_best_model_at_end": False, "eval_on_start": False}
        trainer = self.new_trainer(
            self.new_student(shape), args.with_output_dir(f"{args.output_dir}/_trial", **changes)
        )
        parameters, latency = size_of(trainer.accelerator.unwrap_model(trainer.model)).parameters, _latency_ms(trainer)
        excess = self.budget.excess(parameters, latency)
        trial.set_user_attr("parameters", parameters)
        trial.set_user_attr("latency_ms", latency)
        if excess:
            return self._pass_over(trial, excess)
        if not self.trade_off:  # Optuna prunes by one value only
            trainer.add_callback(_Pruning(trial, self.metric))
        try:
            trainer.train()
        except TrialPruned:
            self.study.tell(trial, state=TrialState.PRUNED)
            return ""
        trainer.remove_callback(_Pruning)  # it has reported the last epoch
        score = trainer.evaluate()[f"eval_{self.metric}"]
        self.study.tell(trial, (score, latency) if self.trade_off else score)
        return ""

    def _known_excess(self, trial: Trial) -> str:
        """What a student of this size has too many parameters for, where one was made: no need to make another.

        Its latency is measured again each time: that of one moment may be the machine's fault.
        """
        alike = (earlier.user_attrs for earlier in _trials(self.study) if _size(earlier.params) == _size(trial.params))
        parameters = next((known["parameters"] for known in alike if "parameters" in known), 0)
        return self.budget.excess(parameters, latency_ms=0.0)

    def _pass_over(self, trial: Trial, excess: str) -> str:
        from optuna.trial import TrialState

        trial.set_user_attr("excess", excess)
        self.study.tell(trial, state=TrialState.PRUNED)  # the sampler learns to avoid it
        return excess


class _Pruning(TrainerCallback):
    """Gives up a student that is behind the median of the others at the same point of training."""

    def __init__(self, trial: Trial, metric: str) -> None:
        self.trial = trial
        self.metric = metric

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        from optuna import TrialPruned

        self.trial.report(kwargs["metrics"][f"eval_{self.metric}"], state.global_step)
        # The last evaluation is of a finished student, whose score is wanted whatever it is.
        if state.global_step < state.max_steps and self.trial.should_prune():
            raise TrialPruned


def _latency_ms(trainer: DistillationTrainer) -> float:
    """Median milliseconds for one of the evaluation rows."""
    dataset, tokenizer = trainer.eval_dataset, trainer.processing_class
    assert isinstance(dataset, Dataset) and isinstance(tokenizer, PreTrainedTokenizerBase)
    rows = dataset.select(range(min(len(dataset), TIMED_ROWS)))
    model = trainer.accelerator.unwrap_model(trainer.model)
    return latencies_ms({"student": MeasuredModel(model, tokenizer, token_rows(model, tokenizer, rows))})[
        "student"
    ].median


def _size(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a student's cost depends on: which of the teacher's layers it has is no matter."""
    return tuple(values.get(name) for name in SHAPE if name != "layers")


def _open_study(storage: str | os.PathLike[str], trade_off: bool) -> Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    Path(storage).parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(storage))),
        study_name="students",
        directions=["maximize", "minimize"] if trade_off else ["maximize"],
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
        load_if_exists=True,
    )
    if len(study.directions) != 1 + trade_off:
        raise ValueError(f"{storage} holds a search for {len(study.directions)} goals: name another file.")
    return study


def _trials(study: Study) -> list[FrozenTrial]:
    """All trials, of whichever process, but those whose process was killed."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name != "FAIL"]


def _give_up_killed(study: Study, present: Presence) -> None:
    """Marks trials that seem to run, and whose process is no more."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        name = trial.user_attrs.get("process")
        if present.is_gone(name) if name else _has_no_process(trial):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    present.sweep()


def _has_no_process(trial: FrozenTrial) -> bool:
    """Whether a trial that names no process was begun so long ago that none is going to be named."""
    begun = trial.datetime_start
    return begun is None or (datetime.now() - begun).total_seconds() > STALE_SECONDS  # noqa: DTZ005 (as Optuna's is)


def _suggest(trial: Trial, space: Mapping[str, Any]) -> None:
    """Chooses a trial's values."""
    for name, choice in space.items():
        if hasattr(choice, "choices"):
            trial.suggest_categorical(name, choice.choices)
        else:
            number = trial.suggest_int if isinstance(choice.low, int) else trial.suggest_float
            number(name, choice.low, choice.high, step=choice.step, log=choice.log)


def _refuse_loss(metric: str, space: Mapping[str, Any]) -> None:
    changing = [name for name in _CHANGE_THE_LOSS if name in space]
    if metric.endswith("loss") and changing:
        raise ValueError(
            f"{metric} cannot be searched by while {', '.join(changing)} is searched: the loss is another quantity in "
            "each trial; search by a task metric, such as accuracy."
        )


def _refuse_other_space(study: Study, space: Mapping[str, Any], storage: str | os.PathLike[str]) -> None:
    for trial in study.get_trials(deepcopy=False)[:1]:
        there = trial.distributions
        # A trial's values are written one by one: of one that has just begun, or was killed then, some may be missing.
        names = {*there, *space} if trial.state.name in ("COMPLETE", "PRUNED") else {*there}
        differing = sorted(name for name in names if there.get(name) != space.get(name))
        if differing:
            raise ValueError(
                f"{storage} holds a search of another space: it differs in {', '.join(differing)}; name another file."
            )
