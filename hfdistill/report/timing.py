"""How long models take: measured in turns, warmed up, once for each shape, and given with its spread."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from hfdistill.models.wrappers import device_of, weight_tensors

LATENCY_TURNS = 6
LATENCY_ROWS = 10
WARM_UP_ROWS = 3
THROUGHPUT_BATCH = 32
THROUGHPUT_ROUNDS = 7

#: Entries of a config that no computation depends on.
UNTIMED = {"architectures", "id2label", "label2id", "problem_type", "transformers_version"}


@dataclass(frozen=True)
class Job:
    """A model's work to be timed.

    Args:
        shape: What its time depends on beside the machine, see `shape_of`: jobs of equal shape are one job.
        run: Does the work of a number, the same for all models, and ends when the device has finished.
    """

    shape: Hashable
    run: Callable[[int], object]


@dataclass(frozen=True)
class Timings:
    """What was measured of a job, such as the seconds of each piece of its work, in their order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """What half of them are below."""
        return float(np.median(self.values))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between which half of them lie."""
        low, high = np.percentile(self.values, (25, 75))
        return float(low), float(high)

    @property
    def p95(self) -> float:
        """What 95 % of them are below."""
        return float(np.percentile(self.values, 95))

    def map(self, function: Callable[[float], float]) -> Timings:
        """The same in another unit."""
        return Timings(tuple(map(function, self.values)))

    def over(self, other: Timings) -> Timings:
        """How many times as much as another's, work by work."""
        return Timings(tuple(one / another for one, another in zip(self.values, other.values, strict=True)))


class Workload(Protocol):
    """A model, and its predictions that are timed."""

    @property
    def model(self) -> Any:
        """The model."""

    @property
    def inputs(self) -> object:
        """What its time depends on beside the model: models of one shape with equal inputs are timed as one."""

    def predict(self, number: int, count: int) -> object:
        """Predicts the `number`-th `count` examples; that the device finishes is waited for outside."""


def latencies_ms(models: Mapping[str, Workload], **rounds: int) -> dict[str, Timings]:
    """Milliseconds for one example, the same ones for all models, as `interleaved` measures them.

    Args:
        models: By role.
        **rounds: As `interleaved` takes them, where not the usual ones are meant.
    """
    usual = {"rounds": LATENCY_TURNS, "each": LATENCY_ROWS, "warm_up": WARM_UP_ROWS}
    times = interleaved(_jobs(models, 1), **{**usual, **rounds})
    return {role: one.map(lambda seconds: 1000 * seconds) for role, one in times.items()}


def throughput(
    models: Mapping[str, Workload], batch_size: int = THROUGHPUT_BATCH, rounds: int | None = None
) -> dict[str, Timings]:
    """Examples a second in batches of examples as they come, likewise."""
    times = interleaved(_jobs(models, batch_size), rounds=rounds or THROUGHPUT_ROUNDS)
    return {role: one.map(lambda seconds: batch_size / seconds) for role, one in times.items()}


def _jobs(models: Mapping[str, Workload], count: int) -> dict[str, Job]:
    """Batches of `count` examples; models of one shape that read the same are one job."""
    inputs: list[object] = []
    jobs = {}
    for role, one in models.items():
        if one.inputs not in inputs:
            inputs.append(one.inputs)
        jobs[role] = Job(shape_of(one.model, inputs.index(one.inputs)), partial(_predict, one, count))
    return jobs


def _predict(one: Workload, count: int, number: int) -> None:
    one.predict(number, count)
    device = device_of(one.model)
    if device.type != "cpu":  # an accelerator is given its work, and does it later
        torch.accelerator.synchronize(device)


def interleaved(jobs: Mapping[str, Job], *, rounds: int, each: int = 1, warm_up: int = 0) -> dict[str, Timings]:
    """The seconds of each piece of every job's work, the same pieces for all.

    The jobs take turns, so that whatever else the machine does slows all of them. In its turn a job does some pieces of
    work, the first few of them untimed: it is alone in the processor's caches then, as it is in use. Every other round
    goes backwards, so that none always follows the same one.

    Args:
        jobs: The jobs by name; those of one shape get the same times.
        rounds: How many turns each job has.
        each: Pieces of work that are timed in a turn.
        warm_up: Those before them that are not; before the first round there is one at least.
    """
    distinct = {job.shape: job for job in reversed(list(jobs.values()))}
    seconds: dict[Hashable, list[float]] = {shape: [] for shape in distinct}
    for job in distinct.values():
        job.run(0)
    for turn in range(rounds):
        for shape, job in list(distinct.items())[:: 1 if turn % 2 else -1]:
            for number in range(turn * each - warm_up, (turn + 1) * each):
                began = time.perf_counter()
                job.run(abs(number))
                if number >= turn * each:
                    seconds[shape].append(time.perf_counter() - began)
    return {name: Timings(tuple(seconds[job.shape])) for name, job in jobs.items()}


def shape_of(model: Any, *about: Hashable) -> Hashable:
    """What a model's speed depends on: its modules, the sizes and types of its weights, its settings, its device.

    Args:
        model: A transformers model; any other object, such as an exported model, is a shape of its own.
        about: What else its time depends on, such as what it reads.
    """
    if not isinstance(model, nn.Module):
        return (id(model), *about)
    parts = ((name, part) for name, value in model.state_dict().items() for part in weight_tensors(value))
    weights = tuple((name, tuple(part.shape), part.dtype) for name, part in parts)
    settings = [_settings(getattr(model, name, None)) for name in ("config", "generation_config")]
    attention = getattr(getattr(model, "config", None), "_attn_implementation", None)
    device = next((str(parameter.device) for parameter in model.parameters()), "")
    return (repr(model), weights, *settings, str(attention), device, *about)


def device_name(device: torch.device) -> str:
    """What speed was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"


def one_network(timings: Mapping[str, Timings]) -> list[list[str]]:
    """The names of jobs that were measured as one, where there are such."""
    groups: dict[Timings, list[str]] = {}
    for name, one in timings.items():
        groups.setdefault(one, []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def speed_figures(latency_ms: Mapping[str, Timings], per_second: Mapping[str, Timings]) -> dict[str, dict[str, Any]]:
    """The fields of `ModelFigures` on speed, by role."""
    return {
        role: {
            "latency_ms": one.median,
            "latency_quartiles_ms": one.quartiles,
            "latency_p95_ms": one.p95,
            "examples_per_second": per_second[role].median,
            "examples_per_second_quartiles": per_second[role].quartiles,
            "speedup_quartiles": None if role == "teacher" else latency_ms["teacher"].over(one).quartiles,
        }
        for role, one in latency_ms.items()
    }


def _settings(config: Any) -> str:
    settings = config.to_dict() if hasattr(config, "to_dict") else {}
    kept = {name: value for name, value in settings.items() if name not in UNTIMED and not name.startswith("_")}
    return json.dumps(kept, sort_keys=True, default=str)
