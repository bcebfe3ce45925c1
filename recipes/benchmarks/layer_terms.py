"""What each term on layers adds for a small student: one table and one plot, over students, objectives and seeds.

Every student is cut from the teacher, narrower and shallower, by the importance of its parts on the training texts, and
trained with each objective for as many epochs. Results are kept line by line in --output; what is there is not trained
again, so that the table may be filled in several sittings.

    python recipes/benchmarks/layer_terms.py --teacher my/bert --train_file train.tsv --test_file test.tsv \\
        --students 2x128 --objectives logits minilm --seeds 0 1

| objective | what is learned |
|---|---|
| labels | the labels alone |
| logits | labels and soft targets |
| hidden, patient, minilm, rkd, similarity, graph, exemplars, contrastive | logits, and that term beside them |
| attention | likewise, for students with as many heads as the teacher: 2x132/12 |
| two_stages | half of the epochs hidden states and minilm, then half of them logits |
"""

import argparse
import copy
import functools
import itertools
import json
import re
import statistics
import time
from collections import defaultdict
from pathlib import Path

import torch
from bench import draw_on, gain, percent
from datasets import Dataset, DatasetDict
from matplotlib.figure import Figure
from remembered import RememberingTeacher
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, set_seed

from hfdistill import (
    ClassificationTrainingArguments,
    DistillationTrainer,
    augment,
    classification_metrics,
    labeled_rows,
    make_student,
    soft_targets,
    text_classification_dataset,
)
from hfdistill.data.augmentation.augmenters import load_augmenter
from hfdistill.models.inference import token_rows
from hfdistill.report.cost import MeasuredModel
from hfdistill.report.timing import latencies_ms
from hfdistill.students import choose_layers

LOGITS = ("labels:0.3", "soft_targets:0.7")
BESIDE_LOGITS = {
    "hidden": ("hidden_states:1",),
    "patient": ("patient:1",),
    "minilm": ("minilm:1",),
    "attention": ("attentions:1",),
    "rkd": ("rkd_distance:25", "rkd_angle:50"),  # the weights of Park et al. 2019
    "similarity": ("similarity:100",),
    "graph": ("instance_graph:1",),
    "exemplars": ("exemplars:1",),
    "contrastive": ("contrastive:0.1",),
}
OBJECTIVES = {"labels": ("labels",), "logits": LOGITS}
OBJECTIVES |= {name: (*LOGITS, *terms) for name, terms in BESIDE_LOGITS.items()}
NAMES = (*OBJECTIVES, "two_stages")
#: Objectives that need no more than the teacher's last layer, if any.
OF_LAST_LAYER = {"labels", "logits", "minilm", "rkd", "similarity", "exemplars", "contrastive"}


def main() -> None:
    options = parse_options()
    shapes = {shape: parse_shape(shape) for shape in options.students}
    tokenizer = AutoTokenizer.from_pretrained(options.teacher, trust_remote_code=False)
    teacher = AutoModelForSequenceClassification.from_pretrained(
        options.teacher, dtype=torch.float32, trust_remote_code=False
    )
    texts = read(options, teacher, tokenizer)
    lines = options.output.read_text().splitlines() if options.output.exists() else []
    done = {(row["student"], row["objective"], row["seed"]): row for row in map(json.loads, lines)}
    dtype = "bfloat16" if options.bf16 else None

    @functools.cache
    def remembering(depth: int) -> RememberingTeacher:
        last = teacher.config.num_hidden_layers - 1
        layers = [last] if OF_LAST_LAYER.issuperset(options.objectives) else choose_layers(last + 1, depth)
        return RememberingTeacher(copy.deepcopy(teacher), layers, dtype)

    for shape, seed, objective in itertools.product(options.students, options.seeds, options.objectives):
        depth, *_, heads = shapes[shape]
        comparable = objective != "attention" or heads == teacher.config.num_attention_heads  # head by head
        if not comparable:
            print(
                f"{shape} {objective} {seed}: passed over, for the student has other heads than its teacher", flush=True
            )
        elif (shape, objective, seed) not in done:
            model = new_student(options, texts, teacher, tokenizer, shape, seed)
            row = {"student": shape, "objective": objective, "seed": seed}
            row |= run(options, texts, remembering(depth), tokenizer, model, objective, seed)
            done[shape, objective, seed] = row
            with options.output.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)
    rows = list(done.values())
    plot(rows, options.output.with_suffix(".png"))
    print(table(rows))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--train_file", required=True)
    parser.add_argument("--test_file", required=True)
    shape = "LAYERSxWIDTH, LAYERSxWIDTHxCOLUMNS for a factorized embedding, and /HEADS for a number of heads"
    parser.add_argument("--students", nargs="+", default=["2x128", "3x384"], metavar="SHAPE", help=shape)
    parser.add_argument("--objectives", nargs="+", default=list(NAMES), choices=NAMES, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--rows", type=int, help="only so many training rows")
    parser.add_argument("--augment", nargs="+", default=[], choices=("n_grams", "masking"), help="make more texts")
    parser.add_argument("--augment_copies", type=int, default=1, help="of each text, by each of them")
    parser.add_argument("--bf16", action="store_true", help="in mixed precision; on CPUs with AMX twice as fast")
    parser.add_argument("--random", action="store_true", help="students of random weights in place of the teacher's")
    parser.add_argument("--output", type=Path, default=Path("layer_terms.jsonl"))
    return parser.parse_args()


def read(options: argparse.Namespace, teacher: PreTrainedModel, tokenizer) -> DatasetDict:
    names = list(teacher.config.id2label.values())
    data = text_classification_dataset(options.train_file, options.test_file, label_names=names)
    rows = data.dataset["train"]
    if options.rows:
        rows = rows.select(range(min(options.rows, len(rows))))
    if options.augment:
        augmenters = [load_augmenter(name, tokenizer.mask_token, "", ()) for name in options.augment]
        copies = options.augment_copies * len(augmenters)
        rows = augment(rows, augmenters, data.text_columns, data.label_column, copies)
    splits = data.with_train(rows).tokenized(tokenizer, 128).remove_columns(list(data.text_columns))
    return soft_targets(teacher, splits, tokenizer)


def parse_shape(shape: str) -> tuple[int, int, int | None, int | None]:
    """Layers, width, embedding dimensions and heads of `2x128`, `2x128x32`, `2x132/12`."""
    found = re.fullmatch(r"(\d+)x(\d+)(?:x(\d+))?(?:/(\d+))?", shape)
    if found is None:
        raise SystemExit(f"error: --students {shape}: a shape is LAYERSxWIDTH, LAYERSxWIDTHxCOLUMNS or either /HEADS.")
    return tuple(number and int(number) for number in found.groups())


def run(options: argparse.Namespace, texts: DatasetDict, teacher, tokenizer, model, objective, seed) -> dict:
    half = options.epochs / 2
    stages = [f"hidden_states:1 minilm:1 epochs={half}", f"{' '.join(LOGITS)} epochs={half}"]
    args = ClassificationTrainingArguments(
        str(options.output.parent / "layer_terms_run"),
        terms=list(OBJECTIVES.get(objective, LOGITS)),
        stages=stages if objective == "two_stages" else None,
        num_train_epochs=options.epochs,
        learning_rate=options.learning_rate,
        per_device_train_batch_size=options.batch_size,
        eval_strategy="no",
        eval_on_start=False,
        save_strategy="no",
        disable_tqdm=True,
        bf16=options.bf16,
        teacher_at_eval=False,
        logging_steps=1000,
        seed=seed,
    )
    train = texts["train"] if objective != "labels" else labeled_rows(texts["train"], length=len(texts["train"]))
    splits = {"train_dataset": train, "eval_dataset": texts["validation"]}
    measured = {"processing_class": tokenizer, "compute_metrics": classification_metrics()}
    trainer = DistillationTrainer(model, args, teacher=teacher if args.teacher_outputs else None, **splits, **measured)
    untrained, begun = trainer.evaluate()["eval_accuracy"], time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begun
    return {
        "accuracy": trainer.evaluate()["eval_accuracy"],
        "untrained": untrained,
        "seconds": round(seconds, 1),
        "parameters": model.num_parameters(),
        "latency_ms": latency_ms(model, tokenizer, texts["validation"]),
    }


def latency_ms(model: PreTrainedModel, tokenizer, rows: Dataset) -> float:
    """Median milliseconds for one text."""
    measured = MeasuredModel(model, tokenizer, token_rows(model, tokenizer, rows.select(range(min(60, len(rows))))))
    return latencies_ms({"student": measured})["student"].median


def new_student(options, texts: DatasetDict, teacher: PreTrainedModel, tokenizer, shape, seed) -> PreTrainedModel:
    set_seed(seed)
    layers, width, embedding, heads = parse_shape(shape)
    first = texts["train"].select_columns(["input_ids", "attention_mask"])[:256]
    batch = tokenizer.pad(first, return_tensors="pt")
    sizes = {"hidden_size": width, "embedding_size": embedding, "num_attention_heads": heads}
    student = make_student(teacher, layers, **sizes, importance_batch=batch)
    return type(student)(student.config) if options.random else student


def table(rows: list[dict]) -> str:
    """Means and spreads; gains over `logits` are of the same student and seed."""
    found: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    for row in rows:
        found[row["student"], f"{row['parameters'] / 1e6:.2f}M", row["objective"]][row["seed"]] = row["accuracy"]
    lines = ["| student | parameters | objective | accuracy | over logits | seeds |", "|---|---:|---|---:|---:|---:|"]
    for names, by_seed in found.items():
        logits = found.get((*names[:2], "logits"), {})
        both = [seed for seed in by_seed if seed in logits and names[2] != "logits"]
        over = gain([by_seed[seed] for seed in both], [logits[seed] for seed in both]) if both else ""
        lines.append(f"| {' | '.join(names)} | {percent(list(by_seed.values()))} | {over} | {len(by_seed)} |")
    return "\n".join(lines)


def plot(rows: list[dict], path: Path) -> None:
    """Accuracy against parameters and against latency, a curve for each objective."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    figures = {"parameters": ("million parameters", 1e-6), "latency_ms": ("milliseconds for one text", 1.0)}
    for axes, (name, (label, factor)) in zip(panels, figures.items(), strict=True):
        curves = defaultdict(list)
        for student, objective in sorted({(row["student"], row["objective"]) for row in rows}):
            alike = [row for row in rows if row["student"] == student]
            x = factor * statistics.median(row[name] for row in alike)  # whatever they learned
            curves[objective].append((x, [row["accuracy"] for row in alike if row["objective"] == objective]))
        draw_on(axes, {objective: sorted(points) for objective, points in curves.items()}, label)
    panels[0].set_ylabel("test accuracy, %")
    panels[1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
