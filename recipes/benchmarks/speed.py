"""What distillation costs on this machine, beside plain fine-tuning and the usual ways to distill.

All jobs run in one process, round after round, on the same rows; what counts are ratios of one round, since a
machine's speed drifts, and their median is shown. The first round warms up.

    python recipes/benchmarks/speed.py                       # random models and rows, sized for the device
    python recipes/benchmarks/speed.py --teacher my/bert --train_file train.tsv --test_file test.tsv

| job | what it does |
|---|---|
| plain | `transformers.Trainer` on the labels, one epoch, its defaults |
| stored | `DistillationTrainer` on stored soft targets, the same batches |
| by_tokens | the same rows in batches by a budget of tokens, as the commands and the guides recommend |
| live | `DistillationTrainer` with its teacher run in every step, the same batches |
| hand_written | the usual hand-written trainer: `compute_loss` overridden, the teacher run in every step |
| predict | `Trainer.predict` by the teacher over the shuffled rows |
| soft_targets | `soft_targets` by the teacher over the same rows |
| predict_half, soft_targets_half | both with a teacher in bfloat16, on a GPU |
| whole | our whole job: soft targets made, then epochs on batches by a budget of tokens |
| peer | as many epochs of the hand-written trainer |
| textbrewer | as many epochs of TextBrewer 0.2.1, where it is installed |
| whole_other, peer_other | both with a random teacher of the other depth, 6 layers or 12 |

By our reckoning that is 5 minutes on an H100 and, with `--rows 160`, 8 on two CPU cores.
"""

from __future__ import annotations

import argparse
import copy
import functools
import importlib.metadata
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from large_vocabulary import Problem, problem, ways
from tokenizers import Tokenizer, models
from torch.nn import functional as F
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    get_linear_schedule_with_warmup,
    set_seed,
)

from hfdistill import DistillationTrainer, DistillationTrainingArguments, make_student, soft_targets
from hfdistill.models.quick_linear import quick_linear
from hfdistill.tasks.classification.data import text_classification_dataset

TEMPERATURE, ALPHA, LEARNING_RATE = 2.0, 0.5, 5e-5
CUDA = torch.cuda.is_available()
#: Width, layers of the teacher, layers of the student, rows, batch size.
SIZES = {"cuda": (768, 12, 6, 6400, 64), "cpu": (384, 6, 3, 512, 32), "quick": (64, 4, 2, 256, 32)}
#: Ratios of seconds: what it is, above, below, and the most it should be (on a CPU, on an accelerator). The random
#: teacher has 6 layers on a CPU and 12 on an accelerator.
RATIOS = [
    ("stored epoch / plain epoch", "stored", "plain", (1.00, 1.02)),
    ("epoch by a budget of tokens / plain epoch", "by_tokens", "plain", (1 / 1.5, 1 / 1.5)),
    ("live epoch / hand-written", "live", "hand_written", (0.95, 1.00)),
    ("soft_targets / Trainer.predict", "soft_targets", "predict", (1 / 2.2, 1 / 3)),
    ("the same in bfloat16", "soft_targets_half", "predict_half", (1 / 2.2, 1 / 3)),
    ("our whole job / hand-written", "whole", "peer", (1 / 3, 1 / 3)),
    ("our whole job / TextBrewer", "whole", "textbrewer", (1 / 3, 1 / 3)),
    ("our whole job / hand-written, other depth", "whole_other", "peer_other", (1 / 5, 1 / 2)),
    *(
        (f"loss in chunks / whole logits, {size}", f"chunks {size}", f"logits {size}", (0.8, 1.1))
        for size in ("58101x512 float32", "58101x512 bfloat16", "256206x1024 float32", "256206x1024 bfloat16")
    ),
]


class Work:
    """The rows, the teacher and the student that every job gets a copy of."""

    def __init__(self, options: argparse.Namespace) -> None:
        set_seed(options.seed)
        size = SIZES["quick" if options.quick else "cuda" if CUDA else "cpu"]
        self.width, self.layers, kept, rows, self.batch_size = size
        self.options, self.folder = options, tempfile.mkdtemp(prefix="speed-")
        rows = options.rows or rows
        self.test: Dataset | None = None
        if options.teacher:
            self._read(rows)
        else:
            self._make_up(rows)
        self.student = make_student(self.teacher, num_hidden_layers=options.student_num_hidden_layers or kept)
        self.teacher.to("cuda" if CUDA else "cpu").eval()

    def random_teacher(self, layers: int) -> BertForSequenceClassification:
        config = BertConfig(
            hidden_size=self.width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, self.width // (64 if CUDA else 32)),
            intermediate_size=4 * self.width,
        )
        return BertForSequenceClassification(config)

    def _make_up(self, rows: int) -> None:
        words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=128
        )
        self.teacher = self.random_teacher(self.options.teacher_num_hidden_layers or self.layers)
        lengths = torch.randint(8, 129, (rows,)).tolist()
        columns = {"input_ids": [torch.randint(5, 30_000, (length,)).tolist() for length in lengths]}
        columns |= {"attention_mask": [[1] * length for length in lengths], "labels": [i % 2 for i in range(rows)]}
        self.train = Dataset.from_dict(columns)

    def _read(self, rows: int) -> None:
        options = self.options
        self.tokenizer = AutoTokenizer.from_pretrained(options.teacher, trust_remote_code=False)
        self.teacher = AutoModelForSequenceClassification.from_pretrained(
            options.teacher, dtype=torch.float32, trust_remote_code=False
        )
        names = list(self.teacher.config.id2label.values())
        data = text_classification_dataset(options.train_file, options.test_file, options.test_file, label_names=names)
        splits = data.dataset.rename_columns({data.label_column: "labels"}).map(
            lambda given: self.tokenizer(*(given[name] for name in data.text_columns), truncation=True, max_length=128),
            batched=True,
            remove_columns=list(data.text_columns),
        )
        train = splits["train"].shuffle(options.seed)
        self.train, self.test = train.select(range(min(rows, len(train)))), splits["test"]

    def arguments(self, kind: type[TrainingArguments] = TrainingArguments, **more: object) -> TrainingArguments:
        """The same for all: AdamW, a linear schedule, in bfloat16 on a GPU."""
        settings: dict = {"num_train_epochs": 1, "per_device_train_batch_size": self.batch_size, "bf16": CUDA, **more}
        return kind(
            self.folder,
            per_device_eval_batch_size=128,
            learning_rate=LEARNING_RATE,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=1000,
            **settings,
        )

    def distillation(self, **more: object) -> TrainingArguments:
        return self.arguments(DistillationTrainingArguments, temperature=TEMPERATURE, alpha=ALPHA, **more)

    def new_student(self) -> BertForSequenceClassification:
        return copy.deepcopy(self.student)

    def predict(self, teacher: torch.nn.Module) -> object:
        return Trainer(teacher, self.arguments(bf16=False), processing_class=self.tokenizer).predict(self.train)

    def soft_targets(self, teacher: torch.nn.Module | None = None) -> Dataset:
        store = tempfile.mkdtemp(dir=self.folder)
        return soft_targets(teacher or self.teacher, self.train, self.tokenizer, store=store)

    def trainer(self, cls: type[Trainer], args: TrainingArguments, rows: Dataset, **more: object) -> Trainer:
        return cls(self.new_student(), args, train_dataset=rows, processing_class=self.tokenizer, **more)


def hand_written_class(teacher: torch.nn.Module) -> type[Trainer]:
    class HandWrittenTrainer(Trainer):
        """As in the tutorials: correct on one process without accumulation, and running the teacher in every step."""

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            outputs = model(**inputs)
            with torch.no_grad():
                teacher_logits = teacher(**inputs).logits
            soft = F.kl_div(
                F.log_softmax(outputs.logits / TEMPERATURE, -1),
                F.softmax(teacher_logits / TEMPERATURE, -1),
                reduction="batchmean",
            )
            loss = ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.cross_entropy(outputs.logits, inputs["labels"])
            return (loss, outputs) if return_outputs else loss

    return HandWrittenTrainer


def jobs(work: Work) -> dict[str, Callable[[], object]]:
    """What is timed, by name; each returns a trainer, if it has trained a student."""
    stored, peer = work.soft_targets(), hand_written_class(work.teacher)
    epochs = work.options.epochs
    mean = sum(map(len, work.train["input_ids"])) / len(work.train)
    budget = work.options.max_tokens_per_batch or int(mean * work.batch_size)  # about as many steps as all others

    def train(trainer: Trainer) -> Trainer:
        trainer.train()
        return trainer

    def by_tokens(rows: Dataset, epochs: int = 1) -> Trainer:
        args = work.distillation(num_train_epochs=epochs, max_tokens_per_batch=budget)
        return train(work.trainer(DistillationTrainer, args, rows))

    def by_hand(peer: type[Trainer], epochs: int = 1) -> Trainer:
        return train(work.trainer(peer, work.arguments(num_train_epochs=epochs), work.train))

    named: dict[str, Callable[[], object]] = {
        "plain": lambda: train(work.trainer(Trainer, work.arguments(), work.train)),
        "stored": lambda: train(work.trainer(DistillationTrainer, work.distillation(), stored)),
        "live": lambda: train(work.trainer(DistillationTrainer, work.distillation(), work.train, teacher=work.teacher)),
        "by_tokens": lambda: by_tokens(stored),
        "hand_written": lambda: by_hand(peer),
        "predict": lambda: work.predict(work.teacher),
        "soft_targets": work.soft_targets,
        "whole": lambda: by_tokens(work.soft_targets(), epochs),
        "peer": lambda: by_hand(peer, epochs),
    }
    if not (work.options.teacher or work.options.teacher_num_hidden_layers):
        other = work.random_teacher(12 if work.layers == 6 else 6).to(work.teacher.device).eval()
        named["whole_other"] = lambda: by_tokens(work.soft_targets(other), epochs)
        named["peer_other"] = lambda: by_hand(hand_written_class(other), epochs)
    if CUDA:
        half = copy.deepcopy(work.teacher).bfloat16()
        named |= {"predict_half": lambda: work.predict(half), "soft_targets_half": lambda: work.soft_targets(half)}
    if importlib.util.find_spec("textbrewer"):
        named["textbrewer"] = lambda: textbrewer(work)
    return named


def textbrewer(work: Work) -> None:
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    def adaptor(batch, outputs):
        return {"logits": outputs.logits, "losses": outputs.loss}

    student, collate = work.new_student().to(work.teacher.device), DataCollatorWithPadding(work.tokenizer)
    loader = torch.utils.data.DataLoader(
        work.train, work.batch_size, shuffle=True, collate_fn=lambda rows: dict(collate(rows))
    )
    distiller = GeneralDistiller(
        train_config=TrainingConfig(output_dir=work.folder, log_dir=None, ckpt_steps=10**9, device=work.teacher.device),
        # Its loss has no factor T²: this weight makes it the same loss.
        distill_config=DistillationConfig(
            temperature=TEMPERATURE, kd_loss_weight=ALPHA * TEMPERATURE**2, hard_label_weight=1 - ALPHA
        ),
        model_T=work.teacher,
        model_S=student,
        adaptor_T=adaptor,
        adaptor_S=adaptor,
    )
    steps = {"num_warmup_steps": 0, "num_training_steps": len(loader) * work.options.epochs}
    with distiller:
        distiller.train(
            torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE),
            loader,
            num_epochs=work.options.epochs,
            scheduler_class=get_linear_schedule_with_warmup,
            scheduler_args=steps,
            max_grad_norm=1.0,
        )


def loss_jobs(quick: bool) -> dict[str, Callable[[], object]]:
    """The loss over a large vocabulary, of 1,024 tokens on a GPU and 256 on a CPU: whole logits, and in chunks.

    The weights are drawn once, in the round that warms up: that takes as long as a loss.
    """
    sizes = [(58_101, 512), (256_206, 1024)] if CUDA else [(58_101, 512)]
    named: dict[str, Callable[[], object]] = {}
    for classes, width in [(5_000, 64)] if quick else sizes:
        for dtype in (torch.float32, torch.bfloat16):
            size = f"{classes}x{width} {str(dtype).removeprefix('torch.')}"
            shape = {"classes": classes, "width": width, "tokens": 1024 if CUDA else 256, "dtype": dtype}
            given = functools.cache(
                functools.partial(problem, argparse.Namespace(**shape, device="cuda" if CUDA else "cpu"))
            )
            named[f"logits {size}"] = lambda given=given: gradient(given, "whole")
            named[f"chunks {size}"] = lambda given=given: gradient(given, "parts", quick_linear)
    return named


def gradient(
    given: Callable[[], Problem], way: str, within: Callable[[], AbstractContextManager] = nullcontext
) -> None:
    """The loss's gradient; within what the trainer takes a step in, where that is ours."""
    with within():
        ways(given())[way]().backward()
    given().student.hidden.grad = given().student.weight.grad = None


def timed(job: Callable[[], object]) -> tuple[float, float | None, object]:
    """Seconds, and the peak of a GPU's memory above what was held before, in MiB; of a CPU nobody counts it."""
    held = 0
    if CUDA:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    began = time.perf_counter()
    result = job()
    if CUDA:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return seconds, (torch.cuda.max_memory_allocated() - held) / 2**20 if CUDA else None, result


def accuracy(work: Work, trainer: object) -> float | None:
    if work.test is None or not isinstance(trainer, Trainer):
        return None
    plain = Trainer(trainer.model, work.arguments(), processing_class=work.tokenizer).predict(work.test)
    return float((plain.predictions.argmax(-1) == plain.label_ids).mean())


def main() -> None:
    options = parse_options()
    disable_progress_bars()
    work = Work(options)
    chosen = {**jobs(work), **loss_jobs(options.quick)}
    chosen = {name: job for name, job in chosen.items() if not options.jobs or name.split()[0] in options.jobs}
    runs: dict[str, list[dict]] = {name: [] for name in chosen}
    for number in range(options.rounds + 1):
        for name, job in chosen.items():
            seconds, mebibytes, result = timed(job)
            if number:
                runs[name].append({"seconds": seconds, "mib": mebibytes, "accuracy": accuracy(work, result)})
            print(f"round {number} {name:>28}: {seconds:8.3f} s", flush=True)
    report = {"device": device_name(), "versions": versions(), "options": vars(options), "runs": runs}
    report["ratios"] = ratios(runs)
    print_tables(report)
    if options.output:
        Path(options.output).write_text(json.dumps(report, indent=1), encoding="utf-8")
    if options.quick and (slow := [one for one in report["ratios"] if one["ratio"] > 2 * one["mark"] + 0.5]):
        raise SystemExit(f"much slower than it should be: {slow}")


def device_name() -> str:
    return torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("torch", "transformers", "datasets", "accelerate")}


def ratios(runs: dict[str, list[dict]]) -> list[dict]:
    found = []
    for title, above, below, marks in RATIOS:
        if runs.get(above) and runs.get(below):
            pairs = zip(runs[above], runs[below], strict=True)
            each = [first["seconds"] / second["seconds"] for first, second in pairs]
            mebibytes = [runs[name][-1]["mib"] for name in (above, below)]
            memory = mebibytes[0] / mebibytes[1] if all(mebibytes) else None
            found.append({"title": title, "ratio": statistics.median(each), "mark": marks[CUDA], "memory": memory})
    return found


def print_tables(report: dict) -> None:
    print(f"\n{report['device']}, {report['versions']}\n\n| job | seconds (median) | peak MiB | accuracy |")
    print("|---|---:|---:|---:|")
    for name, runs in report["runs"].items():
        middle = statistics.median(run["seconds"] for run in runs)
        correct, mebibytes = runs[-1]["accuracy"], runs[-1]["mib"]
        peak = "not measured" if mebibytes is None else f"{mebibytes:.0f}"
        print(f"| {name} | {middle:.3f} | {peak} | {'' if correct is None else f'{correct:.4f}'} |")
    print("\n| ratio | median | at most | of the memory |\n|---|---:|---:|---:|")
    for one in report["ratios"]:
        memory = "" if one["memory"] is None else f"{one['memory']:.2f}"
        print(f"| {one['title']} | {one['ratio']:.3f} | {one['mark']:.2f} | {memory} |")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", help="fine-tuned classifier, Hub name or folder (default: random weights)")
    parser.add_argument("--train_file", help="labeled texts: csv, tsv, json or parquet")
    parser.add_argument("--test_file", help="labeled texts to measure accuracy on")
    parser.add_argument("--teacher_num_hidden_layers", type=int, help="of the random teacher")
    parser.add_argument("--student_num_hidden_layers", type=int)
    parser.add_argument("--epochs", type=int, default=3, help="of the whole jobs")
    parser.add_argument(
        "--max_tokens_per_batch", type=int, help="of by_tokens and whole (default: batch size x mean length)"
    )
    parser.add_argument("--rows", type=int, help="use only so many training rows")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all jobs after the first; medians are shown")
    parser.add_argument("--jobs", nargs="+", help="which jobs to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny models: fails where something is much too slow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="a JSON file of all figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
