"""What a word-level distillation loss costs over a large vocabulary: in chunks, against the whole logits in float32.

All start from the hidden states of 512 target tokens and end with the gradients of the student's hidden states
and output projection; each runs in a process of its own. Memory is what the loss takes above what stood before it.

    python recipes/benchmarks/large_vocabulary.py
    python recipes/benchmarks/large_vocabulary.py --classes 256206 --width 1024 --device cuda

`--ways whole parts liger` compares with the loss of Liger Kernel, too (`pip install -e ".[liger]"`), as the trainer
takes it with `use_liger_kernel`.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from hfdistill import Objective, TeacherSignal
from hfdistill.losses import Labels, SoftTargets
from hfdistill.models.deferred_logits import Projection
from hfdistill.training.chunked_loss import Logits, chunked_loss
from hfdistill.training.liger import loss_by_liger

WAYS = ("whole", "parts", "liger")
ALPHA = 0.8
TEMPERATURE = 2.0
SECONDS_BETWEEN_LOOKS = 0.0005


def main() -> None:
    options = parse_options()
    if options.way:
        small = argparse.Namespace(**{**vars(options), "classes": 100, "rounds": 1})
        measure(small)  # what code takes once it has run is no cost of the loss
        print(json.dumps(measure(options)))
        return
    # Round after round, so that other load of the machine affects all ways alike.
    figures: dict[str, list[dict]] = {way: [] for way in options.ways}
    for _ in range(options.repeats):
        for way, runs in figures.items():
            runs.append(in_own_process(way))
    middle = {
        way: {key: sorted(run[key] for run in runs)[len(runs) // 2] for key in runs[0] if key != "digest"}
        for way, runs in figures.items()
    }
    print(
        "| loss | peak MiB above the inputs | seconds, forward and backward | processor seconds |\n|---|---:|---:|---:|"
    )
    for way, run in middle.items():
        print(f"| {way} | {run['peak_mib']:.0f} | {run['seconds']:.3f} | {run['cpu_seconds']:.3f} |")
    first, *others = options.ways
    for way in others:
        ratios = ", ".join(f"{key} {middle[way][key] / middle[first][key]:.3f}" for key in middle[way])
        pairs = zip(figures[way][0]["digest"], figures[first][0]["digest"], strict=True)
        gap = max(abs(a - b) / abs(b) for a, b in pairs)
        print(f"{way} / {first}: {ratios}; loss and gradients' norms differ by {gap:.1e} at most")


@dataclass
class Problem:
    """A loss to compute, from the hidden states of both models to the gradients of the student's side."""

    objective: Objective
    student: Projection
    teacher: Projection
    labels: torch.Tensor
    counts: torch.Tensor


def problem(options: argparse.Namespace) -> Problem:
    """Random hidden states and projections of these sizes (`classes`, `width`, `tokens`, `device`, `dtype`)."""
    torch.manual_seed(0)
    device = torch.device(options.device)

    def sampled(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, device=device) / options.width**0.25).to(options.dtype)

    student, teacher = (
        Projection(sampled(options.tokens, options.width), sampled(options.classes, options.width)) for _ in range(2)
    )
    student.hidden.requires_grad_(True)
    student.weight.requires_grad_(True)
    labels = torch.randint(options.classes, (options.tokens,), device=device)
    objective = Objective(
        {"labels": (1 - ALPHA, Labels()), "soft_targets": (ALPHA, SoftTargets(temperature=TEMPERATURE))}
    )
    return Problem(objective, student, teacher, labels, torch.tensor([options.tokens] * 2, device=device))


def ways(given: Problem) -> dict[str, Callable[[], torch.Tensor]]:
    """The loss, each way."""

    def whole() -> torch.Tensor:
        signal, batch = TeacherSignal(logits=given.teacher.logits()), {"labels": given.labels}
        return given.objective(Logits(given.student.logits()), signal, batch, given.counts).total

    everything = (given.objective, given.student, given.teacher, given.labels, given.counts)
    return {
        "whole": whole,
        "parts": lambda: chunked_loss(*everything).total,
        "liger": lambda: loss_by_liger(*everything).total,
    }


def measure(options: argparse.Namespace) -> dict[str, object]:
    given = problem(options)
    compute, student = ways(given)[options.way], given.student

    def once() -> torch.Tensor:
        loss = compute()
        loss.backward()
        return loss.detach()

    peak = peak_of(once, torch.device(options.device))
    seconds, cpu_seconds = [], []
    for _ in range(options.rounds):
        student.hidden.grad = student.weight.grad = None
        began, cpu_began = time.perf_counter(), time.process_time()
        loss = once()
        float(loss)
        seconds.append(time.perf_counter() - began)
        cpu_seconds.append(time.process_time() - cpu_began)
    digest = [float(loss), float(student.hidden.grad.norm()), float(student.weight.grad.norm())]
    middle = len(seconds) // 2
    times = {"seconds": sorted(seconds)[middle], "cpu_seconds": sorted(cpu_seconds)[middle]}
    return {"peak_mib": peak / 2**20, **times, "digest": digest}


def peak_of(job, device: torch.device) -> int:
    """The most bytes that a job holds above what there was before it."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        job()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    before, most, done = resident(), 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, resident())
            time.sleep(SECONDS_BETWEEN_LOOKS)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        job()
    finally:  # or the watcher would keep a process alive whose job has failed
        done.set()
        watcher.join()
    return most - before


def resident() -> int:
    """The bytes of this process that are in memory (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def in_own_process(way: str) -> dict[str, object]:
    finished = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--way", way], capture_output=True, text=True)
    if finished.returncode:
        sys.exit(f"{way} failed:\n{finished.stderr[-3000:]}")
    return json.loads(finished.stdout.strip().splitlines()[-1])


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=58_101, help="tokens of the vocabulary (OPUS-MT en-de: 58101)")
    parser.add_argument("--width", type=int, default=512, help="width of both models")
    parser.add_argument("--tokens", type=int, default=512, help="target tokens of a batch")
    parser.add_argument("--dtype", default="float32", help="of hidden states and projections")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds; the median is shown")
    parser.add_argument("--repeats", type=int, default=1, help="processes for each way; the medians are shown")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["whole", "parts"], help="the first one is the base")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.dtype = getattr(torch, options.dtype)
    return options


if __name__ == "__main__":
    main()
