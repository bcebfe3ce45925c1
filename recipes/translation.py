"""Distil a translation model: a trained teacher goes in, a small fast student and an account of what was lost come out.

1. Read pairs of texts (from the Hub, your own files, or a generated demo corpus).
2. Take a trained teacher, or train one first (--train_teacher).
3. sequence: the teacher translates the training texts, once, and the student learns from its translations.
4. shrink: the student starts from some of the teacher's layers; otherwise it starts untrained.
5. word: at each target token the student also learns what the teacher would say there.
6. With --baseline, train the same student on people's translations alone, on the same budget.
7. With --export ctranslate2, write the student for CTranslate2 with int8 weights, too.
8. Compare them; write the student, its card and its report.

    accelerate launch recipes/translation.py --demo
    accelerate launch recipes/translation.py --student_num_decoder_layers 2 --baseline
    accelerate launch recipes/translation.py --teacher_name_or_path my/marian --train_file pairs.jsonl
    accelerate launch recipes/translation.py settings.yaml --export ctranslate2

Its options are in translation_options.py.
"""

from collections.abc import Callable
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from translation_options import HUB_TEACHER, Recipe, RecipeTrainingArguments, arguments

from hfdistill import (
    Seq2SeqDistillationTrainer,
    make_student,
    pseudo_translations,
    token_soft_targets,
    transfer_set,
)
from hfdistill.command_line import own_command, plain_errors, say
from hfdistill.data import TranslationData, hub_errors, load_hub_dataset, translation_dataset
from hfdistill.demo_translation import DEMO, DEMO_NOTICE, demo_translations
from hfdistill.model_card import CardFacts
from hfdistill.run_folder import begin_run, train_and_save, write_report
from hfdistill.seq2seq import check_translator, set_languages
from hfdistill.translation import (
    CTranslate2Model,
    check_ctranslate2,
    compare_translations,
    export_ctranslate2,
    joint_tokenizer,
    small_marian,
    translation_metrics,
    untrained_like,
    write_translations,
)

#: Sentences that an exported student is compared with its original on.
CHECKED_TEXTS = 500


def main() -> None:
    recipe, args = arguments()
    folder, resume = begin_run(args)

    # ---- Texts and teacher ----
    data = read_texts(recipe)
    tokenizer, teacher = load_teacher(recipe, data)
    if recipe.export:
        check_ctranslate2("marian" if recipe.student_vocab_size else teacher.config.model_type)
    say(f"{len(data.dataset['train']):,} training pairs; the teacher has {teacher.num_parameters():,} parameters.")
    if recipe.train_teacher:
        say("Training the teacher.")
        dataset = tokenize(data.dataset, data, tokenizer, recipe.max_length)
        teacher_args = args.for_labels_only(str(folder / "_teacher"), **DEMO.teacher_training if recipe.demo else {})
        train_and_save(Seq2SeqDistillationTrainer(teacher, teacher_args, **on(dataset, tokenizer, args)), resume)

    # ---- The teacher's translations, made once ----
    notes = [DEMO_NOTICE] if recipe.demo else []
    texts = data.dataset
    if "sequence" in recipe.methods:
        texts, found = let_translate(recipe, data, teacher, tokenizer)
        say(f"The teacher's translations: {found}")
        notes.append(f"The student learnt from the teacher's translations: {found}")

    # ---- Student, and the same student without a teacher ----
    new_student, student_tokenizer = prepare_student(recipe, args.seed, data, teacher, tokenizer)
    dataset = tokenize(texts, data, student_tokenizer, recipe.max_length)
    say("Training the student.")
    word = "word" in recipe.methods
    student_args = args if word else args.for_labels_only(str(folder), push_to_hub=args.push_to_hub)
    if recipe.soft_targets:
        dataset = ask_once(recipe, args, teacher, dataset, tokenizer)
    asked = teacher if word and not recipe.soft_targets else None
    trainer = Seq2SeqDistillationTrainer(
        new_student(), student_args, teacher=asked, **on(dataset, student_tokenizer, args)
    )
    train_and_save(trainer, resume)
    models = {"teacher": teacher, "student": trainer.model}
    histories = {"student": trainer.state.log_history}
    if recipe.baseline:
        say("Training the same student without a teacher.")
        dataset = tokenize(data.dataset, data, student_tokenizer, recipe.max_length)
        baseline = Seq2SeqDistillationTrainer(
            new_student(), args.for_labels_only(str(folder / "_baseline")), **on(dataset, student_tokenizer, args)
        )
        train_and_save(baseline, resume)
        models["baseline"] = baseline.model
        histories["baseline"] = baseline.state.log_history

    # ---- What was lost ----
    if trainer.is_world_process_zero():
        tokenizers = {role: tokenizer if role == "teacher" else student_tokenizer for role in (*models, "ctranslate2")}
        trainer.card_facts = report(recipe, folder, data, models, tokenizers, histories, notes)
        trainer.create_model_card()
    if args.push_to_hub:
        trainer.push_to_hub()


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
        how = {"dropout": recipe.teacher_dropout, "max_length": recipe.max_length}
        return tokenizer, small_marian(tokenizer, encoder_layers, decoder_layers, width, **how)
    name = recipe.teacher_name_or_path or HUB_TEACHER
    with hub_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(name)
        teacher = AutoModelForSeq2SeqLM.from_pretrained(name, dtype="float32" if recipe.train_teacher else "auto")
    if recipe.source_tag and recipe.target_tag:
        set_languages(teacher, tokenizer, recipe.source_tag, recipe.target_tag)
    elif hasattr(tokenizer, "src_lang") and teacher.generation_config.forced_bos_token_id is None:
        raise ValueError("the teacher speaks many languages: name two with --source_tag and --target_tag.")
    check_translator(teacher, tokenizer, recipe.max_length)
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
        sides = [tokenizer(rows[data.source]), tokenizer(text_target=rows[data.target])]
        cut = [max(map(len, ids)) > limit for ids in zip(*(side["input_ids"] for side in sides), strict=True)]
        read = tokenizer(rows[data.source], text_target=rows[data.target], truncation=True, max_length=limit)
        return {**read, "cut": cut}

    with PartialState().main_process_first():
        dataset = texts.map(read, batched=True, desc="Tokenizing")
    report_cut_texts(dataset["train"], limit)
    return dataset


def report_cut_texts(train_split: Dataset, limit: int) -> None:
    cut, rows = sum(train_split["cut"][:]), len(train_split)
    if cut == rows:
        raise ValueError(f"--max_length {limit} cuts every training pair: raise it.")
    if cut:
        say(f"{cut:,} of {rows:,} training pairs ({100 * cut / rows:.1f} %) are cut to --max_length {limit}.")


def on(dataset: DatasetDict, tokenizer: PreTrainedTokenizerBase, args: RecipeTrainingArguments) -> dict[str, object]:
    splits = {"train_dataset": dataset["train"], "eval_dataset": dataset["validation"]}
    metrics = translation_metrics(tokenizer) if args.predict_with_generate else None
    return {**splits, "processing_class": tokenizer, "compute_metrics": metrics}


def ask_once(
    recipe: Recipe,
    args: RecipeTrainingArguments,
    teacher: PreTrainedModel,
    dataset: DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
) -> DatasetDict:
    """The splits that are trained and evaluated on, with the teacher's answers to their target tokens."""
    splits = DatasetDict({name: dataset[name] for name in ("train", "validation")})
    how = {"method": recipe.soft_targets, "temperature": args.temperature, "dtype": args.teacher_dtype}
    return token_soft_targets(teacher, splits, tokenizer, **how)


def report(
    recipe: Recipe,
    folder: Path,
    data: TranslationData,
    models: dict[str, PreTrainedModel | CTranslate2Model],
    tokenizers: dict[str, PreTrainedTokenizerBase],
    histories: dict[str, list],
    notes: list[str],
) -> CardFacts:
    """Measures the models, writes the report and prints the table; what the card says of them."""
    split = "test" if "test" in data.dataset else "validation"
    if recipe.export:
        student = models["student"]
        models["ctranslate2"], note = converted(recipe, student, tokenizers["student"], data, split, folder)
        notes.append(note)
    comparison = compare_translations(
        models,
        {role: tokenizers[role] for role in models},
        data.dataset[split],
        source=data.source,
        target=data.target,
        split=split,
        num_beams=recipe.num_beams,
        max_length=recipe.max_length,
    )
    pages = write_translations(folder, comparison)
    write_report(folder, comparison, histories, [*notes, pages])
    print(f"\n{comparison.table()}\n\nStudent, card and report are in {folder}/.")
    if recipe.demo:
        print(DEMO_NOTICE)
    return card_facts(recipe, data, comparison, notes)


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
    return CardFacts(
        teacher=recipe.teacher_name_or_path or (trained_here if recipe.train_teacher else HUB_TEACHER),
        dataset="a generated demo corpus" if recipe.demo else recipe.train_file or recipe.dataset_name,
        comparison=comparison,
        command=own_command("recipes/translation.py"),
        labelled_rows=len(data.dataset["train"]),
        unlabelled_rows=len(data.monolingual) if data.monolingual is not None and "sequence" in recipe.methods else 0,
        task="translation",
        notes=notes,
    )


if __name__ == "__main__":
    with plain_errors():
        main()
