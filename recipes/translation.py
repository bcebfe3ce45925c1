"""Distil a translation model: a trained teacher goes in, a small fast student and an account of what was lost come out.

1. Read pairs of texts (from the Hub, your own files, or a generated demo corpus).
2. Take a trained teacher, or train one first (--train_teacher).
3. sequence: the teacher translates the training texts, once, and the student learns from its translations.
4. shrink: the student starts from some of the teacher's layers; otherwise it starts untrained.
5. word: at each target token the student also learns what the teacher would say there.
6. With --baseline, train the same student on people's translations alone, on the same budget.
7. Compare them; write the student, its card and its report.

    accelerate launch recipes/translation.py --demo
    accelerate launch recipes/translation.py --student_num_decoder_layers 2 --baseline
    accelerate launch recipes/translation.py --teacher_name_or_path my/marian --train_file pairs.jsonl
    accelerate launch recipes/translation.py settings.yaml
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from accelerate import PartialState
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from hfdistill import (
    Seq2SeqDistillationTrainer,
    Seq2SeqDistillationTrainingArguments,
    make_student,
    pseudo_translations,
    token_soft_targets,
    transfer_set,
)
from hfdistill.command_line import parse_arguments, plain_errors
from hfdistill.data import TranslationData, hub_errors, load_hub_dataset, translation_dataset
from hfdistill.demo_translation import DEMO, DEMO_NOTICE, demo_translations
from hfdistill.from_scratch import joint_tokenizer, small_marian, untrained_like
from hfdistill.model_card import CardFacts
from hfdistill.run_folder import begin_run, last_checkpoint, write_report
from hfdistill.seq2seq import set_languages
from hfdistill.translation_metrics import translation_metrics
from hfdistill.translation_report import compare_translations, write_translations

HUB_TEACHER = "Helsinki-NLP/opus-mt-en-de"
HUB_DATASET = "bentrevett/multi30k"
METHODS = ("word", "sequence", "shrink")


@dataclass
class Recipe:
    """Which teacher, which student, which texts."""

    teacher_name_or_path: str | None = field(
        default=None,
        metadata={"help": f"Translator, Hub or folder; default {HUB_TEACHER}, or a new Marian to train."},
    )
    train_teacher: bool = field(default=False, metadata={"help": "Train the teacher on the texts first."})
    teacher_size: list[int] = field(
        default_factory=lambda: [3, 3, 256],
        metadata={"help": "Encoder layers, decoder layers and width of a new Marian."},
    )
    vocab_size: int = field(default=8000, metadata={"help": "Entries of a new Marian's joint vocabulary."})
    methods: list[str] = field(
        default_factory=lambda: list(METHODS),
        metadata={
            "help": "How the student learns from the teacher: any of word, sequence, shrink.",
            "choices": METHODS,
        },
    )
    soft_targets: str | None = field(
        default=None,
        metadata={
            "help": "word: ask the teacher once, and keep its answers as draws or as the likeliest tokens.",
            "choices": ("sampled", "top_k"),
        },
    )
    student_num_encoder_layers: int | None = field(default=None, metadata={"help": "Default: as many as the teacher."})
    student_num_decoder_layers: int | None = field(
        default=None, metadata={"help": "Default: a third of the teacher's."}
    )
    student_hidden_size: int | None = field(
        default=None, metadata={"help": "Width of the student, where it does not shrink the teacher."}
    )
    student_vocab_size: int | None = field(
        default=None, metadata={"help": "A joint vocabulary of the student's own; goes with --methods sequence alone."}
    )
    interpolate: bool = field(
        default=False, metadata={"help": "sequence: the candidate closest to people's translation, not the likeliest."}
    )
    dataset_name: str = field(default=HUB_DATASET, metadata={"help": "Parallel set on the Hub."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_file: str | None = field(default=None, metadata={"help": "Your pairs: json lines, csv, tsv or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "Default: a tenth of the training pairs."})
    test_file: str | None = field(default=None, metadata={"help": "The figures are measured here, else on validation."})
    unlabeled_file: str | None = field(
        default=None, metadata={"help": "More source texts, for the teacher to translate."}
    )
    source_lang: str = field(default="en", metadata={"help": "Column of the source texts, or their language."})
    target_lang: str = field(default="de", metadata={"help": "Column of the target texts, or their language."})
    source_tag: str | None = field(default=None, metadata={"help": "A teacher of many languages: its tag, eng_Latn."})
    target_tag: str | None = field(default=None, metadata={"help": "Likewise, such as deu_Latn."})
    max_length: int = field(default=128, metadata={"help": "Tokens a text is cut to on either side."})
    num_beams: int = field(default=5, metadata={"help": "Beam of the teacher's translations and of the measurement."})
    baseline: bool = field(default=False, metadata={"help": "Train the same student without a teacher, too."})
    demo: bool = field(default=False, metadata={"help": "A generated corpus and small models; needs no network."})


@dataclass
class RecipeTrainingArguments(Seq2SeqDistillationTrainingArguments):
    """The training arguments, with this recipe's defaults: texts batched by length, evaluated by their losses."""

    output_dir: str = "distilled-translation"
    learning_rate: float = 3e-4
    num_train_epochs: float = 5
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 64
    warmup_steps: float = 0.06
    temperature: float = 1.0
    alpha: float = 0.8
    train_sampling_strategy: str = "group_by_length"
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    save_total_limit: int = 1
    logging_steps: float = 0.02
    report_to: str = "none"
    dataloader_pin_memory: bool = torch.accelerator.is_available()
    use_cpu: bool = not torch.accelerator.is_available()  # said, or the processes of torchrun do not find each other


def main() -> None:
    recipe, args = arguments()
    check_methods(recipe)
    folder, resume = begin_run(args)

    # ---- Texts and teacher ----
    data = read_texts(recipe)
    tokenizer, teacher = load_teacher(recipe, data)
    say(f"{len(data.dataset['train']):,} training pairs; the teacher has {teacher.num_parameters():,} parameters.")
    if recipe.train_teacher:
        say("Training the teacher.")
        dataset = tokenize(data.dataset, data, tokenizer, recipe.max_length)
        teacher_args = args.for_labels_only(str(folder / "_teacher"), **DEMO.teacher_training if recipe.demo else {})
        train(Seq2SeqDistillationTrainer(teacher, teacher_args, **on(dataset, tokenizer, args)), resume)

    # ---- The teacher's translations, made once ----
    notes = [DEMO_NOTICE] if recipe.demo else []
    texts = data.dataset
    if "sequence" in recipe.methods:
        texts, report = let_translate(recipe, data, teacher, tokenizer)
        say(f"The teacher's translations: {report}")
        notes.append(f"The student learnt from the teacher's translations: {report}")

    # ---- Student, and the same student without a teacher ----
    new_student, student_tokenizer = prepare_student(recipe, args.seed, data, teacher, tokenizer)
    dataset = tokenize(texts, data, student_tokenizer, recipe.max_length)
    say("Training the student.")
    word = "word" in recipe.methods
    student_args = args if word else args.for_labels_only(str(folder), push_to_hub=args.push_to_hub)
    if recipe.soft_targets:
        splits = DatasetDict({name: dataset[name] for name in ("train", "validation")})
        dataset = token_soft_targets(
            teacher,
            splits,
            tokenizer,
            method=recipe.soft_targets,
            temperature=args.temperature,
            dtype=args.teacher_dtype,
        )
    asked = teacher if word and not recipe.soft_targets else None
    trainer = Seq2SeqDistillationTrainer(
        new_student(), student_args, teacher=asked, **on(dataset, student_tokenizer, args)
    )
    train(trainer, resume)
    models = {"teacher": teacher, "student": trainer.model}
    histories = {"student": trainer.state.log_history}
    if recipe.baseline:
        say("Training the same student without a teacher.")
        dataset = tokenize(data.dataset, data, student_tokenizer, recipe.max_length)
        baseline = Seq2SeqDistillationTrainer(
            new_student(), args.for_labels_only(str(folder / "_baseline")), **on(dataset, student_tokenizer, args)
        )
        train(baseline, resume)
        models["baseline"] = baseline.model
        histories["baseline"] = baseline.state.log_history

    # ---- What was lost ----
    if trainer.is_world_process_zero():
        split = "test" if "test" in data.dataset else "validation"
        comparison = compare_translations(
            models,
            {role: tokenizer if role == "teacher" else student_tokenizer for role in models},
            data.dataset[split],
            source=data.source,
            target=data.target,
            split=split,
            num_beams=recipe.num_beams,
            max_length=recipe.max_length,
        )
        notes.append(write_translations(folder, comparison))
        write_report(folder, comparison, histories, notes)
        trainer.card_facts = card_facts(recipe, data, comparison)
        trainer.create_model_card()
        print(f"\n{comparison.table()}\n\nStudent, card and report are in {folder}/.")
        if recipe.demo:
            print(DEMO_NOTICE)
    if args.push_to_hub:
        trainer.push_to_hub()


def arguments() -> tuple[Recipe, RecipeTrainingArguments]:
    classes = (Recipe, RecipeTrainingArguments)
    recipe, args = parse_arguments(classes, __doc__.splitlines()[0])
    if recipe.demo:
        demo = {
            "train_teacher": True,
            "baseline": True,
            "methods": ["word", "sequence"],
            "max_length": 48,
            "num_beams": 3,
        }
        encoder_layers, decoder_layers, width = DEMO.student_size
        sizes = {"student_num_encoder_layers": encoder_layers, "student_num_decoder_layers": decoder_layers}
        sizes |= {"student_hidden_size": width, "teacher_size": list(DEMO.teacher_size), "vocab_size": DEMO.vocab_size}
        defaults = {**demo, **sizes, **DEMO.student_training}
        recipe, args = parse_arguments(classes, __doc__.splitlines()[0], defaults)
    return recipe, args


def check_methods(recipe: Recipe) -> None:
    if (recipe.source_tag is None) != (recipe.target_tag is None):
        raise ValueError("--source_tag and --target_tag go together: a teacher of many languages needs both.")
    if not recipe.methods:
        raise ValueError("--methods names none: without a teacher the student is the --baseline.")
    if recipe.student_vocab_size and set(recipe.methods) != {"sequence"}:
        raise ValueError(
            "--student_vocab_size gives the student words of its own, about which the teacher has no answers and no "
            "weights: it goes with --methods sequence alone."
        )
    if recipe.interpolate and "sequence" not in recipe.methods:
        raise ValueError("--interpolate chooses among the teacher's translations: it goes with --methods sequence.")
    if recipe.interpolate and recipe.unlabeled_file:
        raise ValueError("--interpolate needs people's translations to be close to, and --unlabeled_file has none.")
    if recipe.unlabeled_file and "sequence" not in recipe.methods:
        raise ValueError("--unlabeled_file holds texts for the teacher to translate: it goes with --methods sequence.")
    if recipe.soft_targets and "word" not in recipe.methods:
        raise ValueError("--soft_targets are the teacher's answers word by word: they go with --methods word.")
    if recipe.student_hidden_size and "shrink" in recipe.methods:
        raise ValueError(
            "--student_hidden_size and --methods shrink exclude one another: the teacher's layers have its own width."
        )


def read_texts(recipe: Recipe) -> TranslationData:
    if recipe.demo:
        demo = demo_translations()
        return translation_dataset(demo["train"], demo["validation"], demo["test"])
    train_file, validation_file, test_file = recipe.train_file, recipe.validation_file, recipe.test_file
    if recipe.train_file is None:
        hub = load_hub_dataset(recipe.dataset_name, recipe.dataset_config_name)
        train_file, validation_file, test_file = hub["train"], hub.get("validation"), test_file or hub.get("test")
    return translation_dataset(
        train_file,
        validation_file,
        test_file,
        source=recipe.source_lang,
        target=recipe.target_lang,
        unlabeled_file=recipe.unlabeled_file,
    )


def load_teacher(recipe: Recipe, data: TranslationData) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    if recipe.train_teacher and recipe.teacher_name_or_path is None:
        tokenizer = joint_tokenizer(both_sides(data), recipe.vocab_size, recipe.max_length)
        encoder_layers, decoder_layers, width = recipe.teacher_size
        return tokenizer, small_marian(tokenizer, encoder_layers, decoder_layers, width, max_length=recipe.max_length)
    name = recipe.teacher_name_or_path or HUB_TEACHER
    with hub_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(name)
        teacher = AutoModelForSeq2SeqLM.from_pretrained(name, dtype="float32" if recipe.train_teacher else "auto")
    if recipe.source_tag and recipe.target_tag:
        set_languages(teacher, tokenizer, recipe.source_tag, recipe.target_tag)
    return tokenizer, teacher


def both_sides(data: TranslationData) -> list[str]:
    train = data.dataset["train"]
    return [*train[data.source][:], *train[data.target][:]]


def let_translate(
    recipe: Recipe, data: TranslationData, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[DatasetDict, object]:
    """The splits with the teacher's translations to train on; validation and test stay people's."""
    texts = data.dataset["train"]
    if data.monolingual is not None:
        texts = concatenate_datasets([texts.select_columns(data.source), data.monolingual])
    translated = pseudo_translations(
        teacher,
        texts,
        tokenizer,
        source_column=data.source,
        num_beams=recipe.num_beams,
        num_candidates=recipe.num_beams if recipe.interpolate else 1,
        max_length=recipe.max_length,
    )
    choice = "closest" if recipe.interpolate else "best"
    train_split, report = transfer_set(translated, data.source, data.target, choice)
    return DatasetDict({**data.dataset, "train": train_split}), report


def prepare_student(
    recipe: Recipe, seed: int, data: TranslationData, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[Callable[[], PreTrainedModel], PreTrainedTokenizerBase]:
    """A function that makes the untrained student, the same at each call, and the student's tokenizer."""
    config = teacher.config
    encoder_name, decoder_name = (
        ("encoder_layers", "decoder_layers")
        if hasattr(config, "decoder_layers")
        else ("num_layers", "num_decoder_layers")
    )
    encoder_layers = recipe.student_num_encoder_layers or getattr(config, encoder_name)
    decoder_layers = recipe.student_num_decoder_layers or max(1, getattr(config, decoder_name) // 3)
    width = recipe.student_hidden_size
    if recipe.student_vocab_size:
        tokenizer = joint_tokenizer(both_sides(data), recipe.student_vocab_size, recipe.max_length)

    def new_student() -> PreTrainedModel:
        set_seed(seed)
        if recipe.student_vocab_size:
            width_ = width or config.d_model
            return small_marian(tokenizer, encoder_layers, decoder_layers, width_, max_length=recipe.max_length)
        if "shrink" in recipe.methods:
            return make_student(teacher, num_encoder_layers=encoder_layers, num_decoder_layers=decoder_layers)
        return untrained_like(teacher, {encoder_name: encoder_layers, decoder_name: decoder_layers}, width)

    return new_student, tokenizer


def tokenize(
    texts: DatasetDict, data: TranslationData, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> DatasetDict:
    limit = min(max_length, tokenizer.model_max_length)

    def read(rows: dict[str, list[str]]) -> dict[str, list]:
        return tokenizer(rows[data.source], text_target=rows[data.target], truncation=True, max_length=limit)

    with PartialState().main_process_first():
        dataset = texts.map(read, batched=True, desc="Tokenizing")
    report_cut_texts(dataset["train"], limit)
    return dataset


def report_cut_texts(train_split: Dataset, limit: int) -> None:
    sides = zip(train_split["input_ids"][:], train_split["labels"][:], strict=True)
    cut = sum(limit in (len(source), len(target)) for source, target in sides)
    if cut:
        say(f"{cut:,} of {len(train_split):,} training pairs are cut to --max_length {limit}.")


def on(dataset: DatasetDict, tokenizer: PreTrainedTokenizerBase, args: RecipeTrainingArguments) -> dict[str, object]:
    splits = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
    metrics = translation_metrics(tokenizer) if args.predict_with_generate else None
    return {**splits, "processing_class": tokenizer, "compute_metrics": metrics}


def train(trainer: Seq2SeqDistillationTrainer, resume: bool) -> None:
    folder = trainer.args.output_dir
    trainer.train(resume_from_checkpoint=last_checkpoint(folder) if resume else None)
    trainer.save_model()


def card_facts(recipe: Recipe, data: TranslationData, comparison) -> CardFacts:
    trained_here = f"a small Marian trained by this command on {recipe.source_lang} and {recipe.target_lang}"
    return CardFacts(
        teacher=recipe.teacher_name_or_path or (trained_here if recipe.train_teacher else HUB_TEACHER),
        dataset="a generated demo corpus" if recipe.demo else recipe.train_file or recipe.dataset_name,
        comparison=comparison,
        command=["accelerate", "launch", "recipes/translation.py", *sys.argv[1:]],
        labelled_rows=len(data.dataset["train"]),
        unlabelled_rows=len(data.monolingual) if data.monolingual is not None and "sequence" in recipe.methods else 0,
        task="translation",
    )


def say(text: str) -> None:
    PartialState().print(text, flush=True)


if __name__ == "__main__":
    with plain_errors():
        main()
