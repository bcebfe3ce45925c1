"""What word- and sequence-level distillation add to a translation student: Kim & Rush 2016, table 1.

For each seed the same untrained student is trained, for as many epochs, on

| name | target texts | soft targets |
|---|---|---|
| plain | references | none |
| word | references | the teacher's, at each target token |
| sequence | the teacher's | none |
| sequence, closest | of the teacher's beam the one closest to the reference | none |
| sequence, all texts | the teacher's, of texts beyond the first `--pairs`, too | none |
| both | the teacher's | the teacher's |
| word, sampled; both, sampled | as above | 50 cached samples of the teacher distribution for each token |
| word, top_k; both, top_k | as above | the teacher's likeliest 50 tokens, likewise |

and its BLEU on the test texts is measured, greedy and by beam search; `--methods` names the ones to train. In Kim &
Rush's table sequence-level distillation gains 4.2 BLEU greedy and 1.4 by beam search. Twelve times in a training it is
measured how much a student reads of its sources: by how many nats a token the loss on validation texts grows when each
gets the source of another. A student that starts untrained first learns the language alone, for hundreds of steps.

    python recipes/benchmarks/translation_students.py --teacher my/marian --train_file train.jsonl \\
        --test_file test.jsonl --output_dir translation_students --student_hidden_size 128

A teacher is what `recipes/translation.py --train_teacher` leaves in `_teacher/`.
"""

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench import Figures, draw_on, gain, over_seeds, percent, publish
from datasets import Dataset
from matplotlib.figure import Figure
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, DataCollatorForSeq2Seq, PreTrainedModel, TrainerCallback

from hfdistill import (
    Seq2SeqDistillationTrainer,
    TranslationTrainingArguments,
    make_translation_student,
    pseudo_translations,
    token_soft_targets,
    transfer_set,
    translation_dataset,
)
from hfdistill.export.ctranslate2 import convert
from hfdistill.export.ctranslate2_model import CTranslate2Model
from hfdistill.export.translator import completed_generation_config
from hfdistill.models.generation import translate
from hfdistill.tasks.translation.metrics import corpus_scores

KIM_RUSH = ("plain", "word", "sequence", "both")
STORED = ("sampled", "top_k")
METHODS = (
    *KIM_RUSH,
    "sequence, closest",
    "sequence, all texts",
    *(f"{method}, {kept}" for kept in STORED for method in ("word", "both")),
)
SEARCHES = ("greedy", "beam")
#: What is said of a search on `--other_test_file`.
ELSEWHERE = ", elsewhere"
#: How often in a training it is measured how much a student reads of its sources.
TIMES = 12


def tokenized(rows: Any, tokenizer: Any, source: str, target: str, limit: int) -> Any:
    return tokenizer(rows[source], text_target=rows[target], truncation=True, max_length=limit)


class Students:
    """The texts, the teacher, and one way to train all of its students."""

    def __init__(self, options: argparse.Namespace, figures: Figures) -> None:
        self.options = options
        self.figures = figures
        self.tokenizer = AutoTokenizer.from_pretrained(options.teacher, trust_remote_code=False)
        how = {"dtype": "float32", "trust_remote_code": False, "attn_implementation": options.attn_implementation}
        self.teacher = AutoModelForSeq2SeqLM.from_pretrained(options.teacher, **how)
        self.data = self.read(options.train_file, options.validation_file, options.test_file)
        self.tests = {"": self.data.dataset["test"]}
        if options.other_test_file:
            others = self.read(options.train_file, options.validation_file, options.other_test_file)
            self.tests[ELSEWHERE] = others.dataset["test"]
        self.measures = [search + where for where in self.tests for search in SEARCHES]

    def read(self, *files: list[str] | None) -> Any:
        names = {"source": self.options.source_lang, "target": self.options.target_lang}
        return translation_dataset(*(one if one and len(one) > 1 else one and one[0] for one in files), **names)

    def bleu(self, model: PreTrainedModel, measure: str) -> float:
        """By a search on the test texts, or on those from elsewhere, from 0 to 1."""
        texts = self.tests[ELSEWHERE if measure.endswith(ELSEWHERE) else ""]
        beams = self.options.num_beams if measure.startswith("beam") else 1
        limit = self.options.max_length
        how = {"num_beams": beams, "max_length": limit}
        written = translate(self.on_engine(model), self.tokenizer, texts[self.data.source][:], **how)
        return corpus_scores(written, texts[self.data.target][:])["bleu"] / 100

    def on_engine(self, model: PreTrainedModel) -> Any:
        """What translates: the model itself, or CTranslate2, here in float32."""
        if self.options.engine == "transformers":
            return model
        with tempfile.TemporaryDirectory() as folder:  # it is in memory then
            path, settings = Path(folder) / "model", completed_generation_config(model)
            convert(model, self.tokenizer, settings, path, "float32")
            return CTranslate2Model(path, model.config, settings)

    def trained(self, method: str, seed: int) -> PreTrainedModel:
        options, (kind, _, how) = self.options, method.partition(", ")
        word, sequence = kind in ("word", "both"), kind in ("sequence", "both")
        shape = {"num_decoder_layers": options.student_num_decoder_layers, "hidden_size": options.student_hidden_size}
        student = make_translation_student(self.teacher, shrink=options.shrink, seed=seed, **shape)
        validation = self.rows("validation")
        kept = how if how in STORED else None
        chosen = ("closest" if how == "closest" else "best") if sequence else None
        train = self.rows("train", chosen, None if how == "all texts" else options.pairs)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            args = self.arguments(folder, seed)
            trainer = Seq2SeqDistillationTrainer(
                student,
                args if word else args.for_labels_only(folder),
                teacher=self.teacher if word and not kept else None,
                train_dataset=self.with_soft_targets(train, kept),
                eval_dataset=self.with_soft_targets(validation, kept),
                processing_class=self.tokenizer,
                callbacks=[SourceUse(self.tokenizer, validation, functools.partial(self.noted, method, seed))],
            )
            trainer.train()
        return student

    def noted(self, method: str, seed: int, step: int, nats: float) -> None:
        self.figures.get(f"{method} source use {seed} {step}", float, nats)

    def rows(self, split: str, chosen: str | None = None, most: int | None = None) -> Dataset:
        """Texts as token ids, with reference translations or those chosen of the teacher's, made once."""
        data, limit = self.data, self.options.max_length
        texts = data.dataset[split]
        texts = texts if most is None else texts.take(min(most, len(texts)))
        if chosen:
            beams = self.options.num_beams
            how = {"num_beams": beams, "num_candidates": 1 if chosen == "best" else beams, "max_length": limit}
            how |= {"source_column": data.source, "engine": self.options.engine}
            translated = pseudo_translations(self.teacher, texts, self.tokenizer, **how)
            texts, found = transfer_set(translated, data.source, data.target, choose=chosen)
            print(found, flush=True)
        # Not a lambda: `datasets` would hash all that it can reach, the models and the corpus among it.
        names = {"tokenizer": self.tokenizer, "source": data.source, "target": data.target, "limit": limit}
        return texts.map(tokenized, batched=True, fn_kwargs=names, remove_columns=texts.column_names)

    def with_soft_targets(self, rows: Dataset, kept: str | None) -> Dataset:
        """With the teacher's predictions for the target tokens, where they are stored and not made in every step."""
        return token_soft_targets(self.teacher, rows, self.tokenizer, method=kept, temperature=1.0) if kept else rows

    def arguments(self, folder: str, seed: int) -> TranslationTrainingArguments:
        options = self.options
        return TranslationTrainingArguments(
            folder,
            num_train_epochs=options.epochs,
            max_steps=options.max_steps,
            per_device_train_batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            alpha=options.alpha,
            save_strategy="no",
            disable_tqdm=True,
            bf16=options.bf16,
            logging_steps=0.1,
            seed=seed,
        )


class SourceUse(TrainerCallback):
    """By how many nats a token the loss of references grows in training when each gets the source of another.

    Args:
        tokenizer: Of the rows.
        rows: Tokenized texts with their references, of which 128 are read.
        note: Is given the step and the nats.
    """

    def __init__(self, tokenizer: Any, rows: Dataset, note: Callable[[int, float], None]) -> None:
        names = ("input_ids", "attention_mask", "labels")
        chosen = [{name: row[name] for name in names} for row in rows.select(range(min(128, len(rows))))]
        self.batch, self.note = DataCollatorForSeq2Seq(tokenizer)(chosen), note

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step % max(1, state.max_steps // TIMES) == 0:
            model = given["model"].eval()
            others = {name: self.batch[name].roll(1, 0) for name in ("input_ids", "attention_mask")}
            with torch.no_grad():
                nats = model(**{**self.batch, **others}).loss - model(**self.batch).loss
            model.train()
            self.note(state.global_step, float(nats))


def main() -> None:
    options = parse_options()
    folder = Path(options.output_dir)
    figures = Figures(folder)
    students = Students(options, figures)
    teacher = {one: figures.get(f"teacher {one}", students.bleu, students.teacher, one) for one in students.measures}
    found = over_seeds(options.seeds, functools.partial(measured, students, figures))
    publish(folder, table(options, teacher, found))
    draw(options.methods, teacher, found, folder / "bleu.png")


def measured(students: Students, figures: Figures, seed: int) -> dict[str, float]:
    """The BLEU of one seed's students by each measure; one is trained where any is not on file."""
    found = {}
    for method in students.options.methods:
        student = functools.cache(functools.partial(students.trained, method, seed))
        for measure in students.measures:
            name = f"{method} {measure}"
            found[name] = figures.get(f"{name} {seed}", bleu_of, students, student, measure)
    return found


def bleu_of(students: Students, student: Callable[[], PreTrainedModel], measure: str) -> float:
    return students.bleu(student(), measure)


def table(
    options: argparse.Namespace, teacher: dict[str, float], found: dict[str, dict[str, list[float]]]
) -> list[str]:
    length = f"{options.max_steps:,} steps" if options.max_steps > 0 else f"{options.epochs:g} epochs"
    lines = [
        f"BLEU on the test texts, {options.seeds} seeds, {length}, a beam of {options.num_beams}; gains over `plain`, "
        "seed by seed.",
        "",
        f"| student | {' | '.join(f'{measure} | gain' for measure in teacher)} |",
        "|---" + "|---:" * 2 * len(teacher) + "|",
        f"| the teacher | {' | '.join(f'{percent([value])} | ' for value in teacher.values())} |",
    ]
    for method in options.methods:
        cells = []
        for measure in teacher:
            values, plain = found[f"{method} {measure}"], found.get(f"plain {measure}")
            cells += [percent(values), gain(values, plain) if plain and method != "plain" else ""]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def draw(methods: list[str], teacher: dict[str, float], found: dict[str, list[float]], path: Path) -> None:
    """Each method's mean BLEU with a bar of one standard deviation, and the teacher's as a line."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for index, (measure, of_teacher) in enumerate(teacher.items()):
        points = [(place + 0.16 * index - 0.08, found[f"{method} {measure}"]) for place, method in enumerate(methods)]
        draw_on(axes, {measure: points}, "", style="o")
        axes.axhline(100 * of_teacher, color=f"C{index}", linestyle=":", label=f"the teacher, {measure}")
    axes.set_xticks(range(len(methods)), [method.replace(", ", ",\n") for method in methods])
    axes.set_ylabel("BLEU on the test texts")
    axes.legend()
    figure.savefig(path, dpi=120)


def parse_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--teacher", required=True, help="a trained encoder-decoder, Hub name or folder")
    options.add_argument("--train_file", required=True, nargs="+", help="pairs: a table, or corpus.en corpus.de")
    options.add_argument(
        "--validation_file", nargs="+", help="for the losses in the log (default: a tenth of the others)"
    )
    options.add_argument("--test_file", required=True, nargs="+", help="pairs to measure BLEU on")
    options.add_argument("--other_test_file", nargs="+", help="pairs of another domain, measured beside them")
    options.add_argument("--source_lang", default="en")
    options.add_argument("--target_lang", default="de")
    options.add_argument("--output_dir", required=True, help="figures, table and plot; an unfinished one is continued")
    options.add_argument("--methods", nargs="+", choices=METHODS, default=list(KIM_RUSH), metavar="METHOD")
    options.add_argument("--student_num_decoder_layers", type=int, default=1)
    options.add_argument("--student_hidden_size", type=int, help="width of the student (default: the teacher's)")
    options.add_argument("--shrink", action="store_true", help="start from the teacher's layers, not untrained")
    options.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0")
    options.add_argument("--epochs", type=float, default=10)
    options.add_argument("--max_steps", type=int, default=-1, help="steps of each training, in place of epochs")
    options.add_argument("--batch_size", type=int, default=64)
    options.add_argument("--learning_rate", type=float, default=1e-3)
    options.add_argument("--alpha", type=float, default=0.8, help="weight of the soft targets")
    options.add_argument("--pairs", type=int, help="so many training pairs, the first (default: all)")
    options.add_argument("--num_beams", type=int, default=5, help="beam of the teacher's translations and of BLEU")
    options.add_argument("--max_length", type=int, default=64, help="tokens a text is cut to on either side")
    engines = ("transformers", "ctranslate2")
    options.add_argument("--engine", choices=engines, default=engines[0], help="what translates; the second is quicker")
    options.add_argument("--attn_implementation", help="eager is quicker in bfloat16 on some processors")
    options.add_argument("--bf16", action="store_true", help="train in mixed precision; on CPUs with AMX twice as fast")
    given = options.parse_args()
    if "sequence, all texts" in given.methods and given.pairs is None:
        options.error("'sequence, all texts' learns from what is beyond the first --pairs: say how many these are.")
    return given


if __name__ == "__main__":
    main()
