"""Distil a translation model: a trained teacher goes in, a small fast student and an account of what was lost come out.

1. Read pairs of texts (from the Hub, your own files, or a generated demo corpus).
2. Take a trained teacher, or train one first (--train_teacher).
3. sequence: the teacher translates the training texts, once, and the student learns from its translations.
4. shrink: the student starts from some of the teacher's layers; otherwise it starts untrained.
5. word: at each target token the student also learns what the teacher would say there.
6. With --baseline, train the same student on reference translations alone, on the same budget.
7. With --export ctranslate2, write the student for CTranslate2 with int8 weights, too.
8. Compare them; write the student, its card and its report.

    accelerate launch recipes/translation.py --demo
    accelerate launch recipes/translation.py --student_num_decoder_layers 2 --baseline
    accelerate launch recipes/translation.py --teacher_name_or_path my/marian --train_file pairs.jsonl
    accelerate launch recipes/translation.py settings.yaml --export ctranslate2

Its options are in translation_options.py.
"""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import (
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from translation_options import HUB_TEACHER, Recipe, RecipeTrainingArguments, arguments

from hfdistill import (
    Seq2SeqDistillationTrainer,
    Seq2SeqTeacher,
    make_student,
    pseudo_translations,
    token_soft_targets,
    transfer_set,
)
from hfdistill.commands.command_line import plain_errors
from hfdistill.export.ctranslate2 import check_ctranslate2, export_ctranslate2
from hfdistill.export.ctranslate2_model import CTranslate2Model
from hfdistill.models.hub import hub_errors, load_hub_dataset, load_tokenizer
from hfdistill.report import Attempts
from hfdistill.report.card import CardFacts, teacher_language, teacher_license
from hfdistill.report.run_folder import begin_run, push, train_and_save, write_report
from hfdistill.report.terminal import own_command, print_main, say_if_slow
from hfdistill.tasks.translation.data import TranslationData, translation_dataset
from hfdistill.tasks.translation.demo import DEMO, DEMO_NOTICE, demo_translations
from hfdistill.tasks.translation.from_scratch import joint_tokenizer, small_marian, untrained_like
from hfdistill.tasks.translation.metrics import check_sacrebleu, translation_metrics
from hfdistill.tasks.translation.report import compare_translations, write_translations
from hfdistill.teachers.seq2seq import check_translator, languages_agree, set_languages

#: Sentences that an exported student is compared with its original on.
CHECKED_TEXTS = 500


def main() -> None:
    recipe, args = arguments()
    check_sacrebleu()
    folder, resume = begin_run(args)

    # ---- Texts and teacher ----
    data = read_texts(recipe)
    tokenizer, teacher = load_teacher(recipe, data)
    check_means(recipe, teacher, tokenizer)
    print_main(
        f"{len(data.dataset['train']):,} training pairs; the teacher has {teacher.num_parameters():,} parameters."
    )
    say_if_slow(len(data.dataset["train"]), teacher.num_parameters())
    dataset = tokenize(data.dataset, data, tokenizer, recipe.max_length)
    report_cut_texts(dataset, recipe.max_length)
    if recipe.train_teacher:
        print_main("Training the teacher.")
        teacher_args = args.for_labels_only(str(folder / "_teacher"), **DEMO.teacher_training if recipe.demo else {})
        train_and_save(
            Seq2SeqDistillationTrainer(teacher, teacher_args, **trainer_kwargs(dataset, tokenizer, args)), resume
        )

    # ---- The teacher's translations, made once ----
    new_student = student_maker(recipe, args.seed, teacher)
    notes = [DEMO_NOTICE] if recipe.demo else []
    texts = data.dataset
    if "sequence" in recipe.methods:
        texts, found = let_translate(recipe, data, teacher, tokenizer, args.teacher_dtype)
        print_main(f"The teacher's translations: {found}")
        notes.append(f"The student learned from the teacher's translations: {found}")

    # ---- Student, and the same student without a teacher ----
    student_tokenizer = prepare_tokenizer(recipe, data, texts["train"], tokenizer)
    dataset = tokenize(texts, data, student_tokenizer, recipe.max_length)
    if student_tokenizer is not tokenizer:
        report_cut_texts(dataset, recipe.max_length)
    print_main("Training the student.")
    word = "word" in recipe.methods
    student_args = args if word else args.for_labels_only(str(folder), push_to_hub=args.push_to_hub)
    asked = Seq2SeqTeacher(teacher, tokenizer, dtype=args.teacher_dtype) if word else None
    if recipe.soft_targets:
        dataset, asked = precompute_token_targets(recipe, args, asked, dataset, student_tokenizer), None
    trainer = Seq2SeqDistillationTrainer(
        new_student(student_tokenizer), student_args, teacher=asked, **trainer_kwargs(dataset, student_tokenizer, args)
    )
    train_and_save(trainer, resume)
    trainers = {"student": trainer}
    if recipe.baseline:
        print_main("Training the same student without a teacher.")
        dataset = tokenize(data.dataset, data, student_tokenizer, recipe.max_length)
        # However many rows there are: the student's may be fewer, or more.
        alone = args.for_labels_only(str(folder / "_baseline"), max_steps=trainer.state.max_steps)
        start = new_student(student_tokenizer)
        trainers["baseline"] = Seq2SeqDistillationTrainer(
            start, alone, **trainer_kwargs(dataset, student_tokenizer, args)
        )
        train_and_save(trainers["baseline"], resume)

    # ---- What was lost ----
    if trainer.is_world_process_zero():
        report(recipe, data, (teacher, tokenizer), trainers, student_tokenizer, notes)
    if args.push_to_hub:
        push(trainer)


def read_texts(recipe: Recipe) -> TranslationData:
    if recipe.demo:
        demo = demo_translations()
        return translation_dataset(demo["train"], demo["validation"], demo["test"])
    train_file, validation_file, test_file = recipe.train_file, recipe.validation_file, recipe.test_file
    if recipe.train_file is None:
        hub = load_hub_dataset(recipe.dataset_name, recipe.dataset_config_name)
        train_file, test_file = hub["train"], test_file or hub.get("test")
        validation_file = validation_file or hub.get("validation")
    return translation_dataset(
        train_file,
        validation_file,
        test_file,
        source=recipe.source_lang,
        target=recipe.target_lang,
        unlabeled_file=recipe.unlabeled_file,
        skip_empty=recipe.skip_empty,
    )


def load_teacher(recipe: Recipe, data: TranslationData) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    if recipe.makes_teacher:
        tokenizer = joint_tokenizer(both_sides(data.dataset["train"], data), recipe.vocab_size, recipe.max_length)
        encoder_layers, decoder_layers, width = recipe.teacher_size
        how = {"dropout": recipe.teacher_dropout, "max_length": recipe.max_length}
        return tokenizer, small_marian(tokenizer, encoder_layers, decoder_layers, width, **how)
    name = recipe.teacher_name_or_path or HUB_TEACHER
    return load_translator(recipe, name, "float32" if recipe.train_teacher else "auto")


def check_means(recipe: Recipe, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses a run that could not be finished, before hours of work."""
    student = None if recipe.student_vocab_size else student_maker(recipe, 0, teacher)(tokenizer)
    if recipe.export:
        check_ctranslate2("marian" if student is None else student.config.model_type)


def both_sides(texts: Dataset, data: TranslationData) -> list[str]:
    return [*texts[data.source][:], *texts[data.target][:]]


def let_translate(
    recipe: Recipe, data: TranslationData, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: str
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
        num_candidates=recipe.num_beams if recipe.interpolate else recipe.n_best or 1,
        max_length=recipe.max_length,
        dtype=dtype,
    )
    choice = "closest" if recipe.interpolate else "all" if recipe.n_best else "best"
    train_split, report = transfer_set(translated, data.source, data.target, choice)
    return DatasetDict({**data.dataset, "train": train_split}), report


def prepare_tokenizer(
    recipe: Recipe, data: TranslationData, read: Dataset, tokenizer: PreTrainedTokenizerBase
) -> PreTrainedTokenizerBase:
    """The student's: its own, one trained on what it reads, or its teacher's."""
    if recipe.student_name_or_path:
        return load_translator(recipe, recipe.student_name_or_path, "float32")[0]
    if not recipe.student_vocab_size:
        return tokenizer
    texts = [*both_sides(read, data), *data.dataset["train"][data.target][:]]
    return joint_tokenizer(texts, recipe.student_vocab_size, recipe.max_length)


def load_translator(recipe: Recipe, name: str, dtype: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    tokenizer = load_tokenizer(name, recipe.trust_remote_code)
    with hub_errors(name):
        model = AutoModelForSeq2SeqLM.from_pretrained(name, dtype=dtype, trust_remote_code=recipe.trust_remote_code)
    if recipe.source_tag and recipe.target_tag:
        set_languages(model, tokenizer, recipe.source_tag, recipe.target_tag)
    elif not languages_agree(model, tokenizer):
        raise ValueError(f"{name} speaks many languages: name two with --source_tag and --target_tag.")
    check_translator(model, tokenizer, recipe.max_length)
    return tokenizer, model


def student_maker(
    recipe: Recipe, seed: int, teacher: PreTrainedModel
) -> Callable[[PreTrainedTokenizerBase], PreTrainedModel]:
    """A function that makes the untrained student, the same at each call."""
    config = teacher.config
    encoder_name, decoder_name = (
        ("encoder_layers", "decoder_layers")
        if hasattr(config, "decoder_layers")
        else ("num_layers", "num_decoder_layers")
    )
    encoder_layers = recipe.student_num_encoder_layers or getattr(config, encoder_name)
    decoder_layers = recipe.student_num_decoder_layers or max(1, getattr(config, decoder_name) // 3)
    # Cut now: --teacher_dtype rounds a teacher that is asked.
    shrunk = "shrink" in recipe.methods and make_student(
        teacher, num_encoder_layers=encoder_layers, num_decoder_layers=decoder_layers
    )

    def new_student(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        set_seed(seed)
        width = recipe.student_hidden_size
        if recipe.student_name_or_path:
            return load_translator(recipe, recipe.student_name_or_path, "float32")[1]
        if recipe.student_vocab_size:
            width = width or config.d_model
            return small_marian(tokenizer, encoder_layers, decoder_layers, width, max_length=recipe.max_length)
        if shrunk:
            return copy.deepcopy(shrunk)
        return untrained_like(teacher, {encoder_name: encoder_layers, decoder_name: decoder_layers}, width)

    return new_student


def tokenize(
    texts: DatasetDict, data: TranslationData, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> DatasetDict:
    limit = min(max_length, tokenizer.model_max_length)

    def read(rows: dict[str, list[str]]) -> dict[str, list]:
        # Whole, to see which are cut; that they are longer than the model reads is no news.
        sides = [tokenizer(rows[data.source], verbose=False), tokenizer(text_target=rows[data.target], verbose=False)]
        cut = [max(map(len, ids)) > limit for ids in zip(*(side["input_ids"] for side in sides), strict=True)]
        read = tokenizer(rows[data.source], text_target=rows[data.target], truncation=True, max_length=limit)
        return {**read, "cut": cut}

    with PartialState().main_process_first():
        dataset = texts.map(read, batched=True, desc="Tokenizing")
    return dataset


def report_cut_texts(dataset: DatasetDict, limit: int) -> None:
    for split, rows in dataset.items():
        cut, kind = sum(rows["cut"][:]), "training" if split == "train" else split
        if cut == len(rows) and split == "train":
            raise ValueError(f"--max_length {limit} cuts every training pair: raise it.")
        if cut:
            share = 100 * cut / len(rows)
            print_main(f"{cut:,} of {len(rows):,} {kind} pairs ({share:.1f} %) are cut to --max_length {limit}.")


def trainer_kwargs(
    dataset: DatasetDict, tokenizer: PreTrainedTokenizerBase, args: RecipeTrainingArguments
) -> dict[str, object]:
    splits = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
    metrics = translation_metrics(tokenizer) if args.predict_with_generate else None
    return {**splits, "processing_class": tokenizer, "compute_metrics": metrics}


def precompute_token_targets(
    recipe: Recipe,
    args: RecipeTrainingArguments,
    teacher: Seq2SeqTeacher,
    dataset: DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
) -> DatasetDict:
    """The splits that are trained and evaluated on, with the teacher's predictions for their target tokens."""
    splits = DatasetDict({name: dataset[name] for name in ("train", "validation")})
    how = {"method": recipe.soft_targets, "temperature": args.temperature}
    return token_soft_targets(teacher, splits, tokenizer, **how)


def report(
    recipe: Recipe,
    data: TranslationData,
    taught_by: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    trainers: dict[str, Seq2SeqDistillationTrainer],
    tokenizer: PreTrainedTokenizerBase,
    notes: list[str],
) -> None:
    """Measures the models, writes report and card, and prints the table."""
    trainer = trainers["student"]
    folder = Path(trainer.args.output_dir)
    models = {"teacher": taught_by[0], **{role: one.model for role, one in trainers.items()}}
    split = "test" if "test" in data.dataset else "validation"
    attempt = Attempts()
    if recipe.export:
        export = partial(converted, recipe, trainer.model, tokenizer, data, split, folder)
        if made := attempt("the export for CTranslate2", export):  # the student is worth its report all the same
            models["ctranslate2"], note = made
            notes.append(note)
    comparison = compare_translations(
        models,
        {role: taught_by[1] if role == "teacher" else tokenizer for role in models},
        data.dataset[split],
        source=data.source,
        target=data.target,
        split=split,
        num_beams=recipe.num_beams,
        max_length=recipe.max_length,
    )
    pages = attempt("the page of translations", partial(write_translations, folder, comparison))
    notes += attempt.notes
    histories = {role: one.state.log_history for role, one in trainers.items()}
    write_report(folder, comparison, histories, [*notes, *([pages] if pages else [])])
    trainer.card_facts = card_facts(recipe, data, comparison, notes)
    attempt("the model card", trainer.create_model_card)
    print(f"\n{comparison.table()}\n\nStudent, card and report are in {folder}/.")
    if recipe.demo:
        print(DEMO_NOTICE)


def converted(
    recipe: Recipe,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TranslationData,
    split: str,
    folder: Path,
) -> tuple[CTranslate2Model, str]:
    """The student for CTranslate2, and what became of its translations."""
    texts = data.dataset[split][data.source][:CHECKED_TEXTS]
    search = {"num_beams": recipe.num_beams, "max_length": recipe.max_length}
    model, parity = export_ctranslate2(student, tokenizer, texts, folder, **search)
    return model, f"CTranslate2 in int8 against the student: greedy {parity['greedy']}; beam {parity['beam']}."


def card_facts(recipe: Recipe, data: TranslationData, comparison, notes: list[str]) -> CardFacts:
    trained_here = f"a small Marian trained by this command on {recipe.source_lang} and {recipe.target_lang}"
    teacher = None if recipe.makes_teacher else recipe.teacher_name_or_path or HUB_TEACHER
    origin = recipe.student_name_or_path or teacher
    languages = [name for name in (recipe.source_lang, recipe.target_lang) if len(name) == 2]
    return CardFacts(
        teacher=teacher or trained_here,
        dataset="a generated demo corpus" if recipe.demo else recipe.train_file or recipe.dataset_name,
        comparison=comparison,
        command=own_command(),
        labeled_rows=len(data.dataset["train"]),
        unlabeled_rows=len(data.monolingual) if data.monolingual is not None and "sequence" in recipe.methods else 0,
        task="translation",
        license=teacher_license(origin) if origin else None,
        language=languages if len(languages) == 2 else teacher_language(origin) if origin else None,
        base_model=origin,
        notes=notes,
    )


if __name__ == "__main__":
    with plain_errors(
        "the same command with --resume_from_checkpoint true goes on where it stopped",
        "(--train_file reads files, and --demo needs no network.)",
    ):
        main()
