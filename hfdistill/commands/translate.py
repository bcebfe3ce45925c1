"""`hfdistill translate`: distill a translation model, from pairs of texts to a student with its report and card.

1. Read pairs of texts (from the Hub, your own files, or a generated demo corpus).
2. Take a trained teacher, or train one first (--train_teacher).
3. sequence: the teacher translates the training texts, once, and the student learns from its translations.
4. shrink: the student starts from some of the teacher's layers; otherwise it starts untrained.
5. word: at each target token the student also learns the teacher's distribution.
6. With --baseline, train the same student on reference translations alone, on the same budget.
7. With --export ctranslate2, write the student for CTranslate2 with int8 weights, too.
8. Compare them; write the student, its card and its report.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datasets import DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from hfdistill.commands.command_line import own_command, plain_errors, print_main, say_if_slow
from hfdistill.commands.translate_options import HUB_TEACHER, TextOptions, TranslateOptions, read_options
from hfdistill.export.ctranslate2 import check_ctranslate2, export_ctranslate2
from hfdistill.export.ctranslate2_model import CTranslate2Model
from hfdistill.models.hub import load_hub_dataset
from hfdistill.report import Attempts, Comparison
from hfdistill.report.card import CardFacts, teacher_language, teacher_license
from hfdistill.report.run_folder import begin_run, push, train_and_save, write_report
from hfdistill.soft_targets.target_tokens import token_soft_targets
from hfdistill.students.encoder_decoders import count_fields
from hfdistill.students.layers import make_student
from hfdistill.tasks.translation.arguments import TranslationTrainingArguments
from hfdistill.tasks.translation.data import TranslationData, translation_dataset
from hfdistill.tasks.translation.demo import TRANSLATION_DEMO, TRANSLATION_DEMO_NOTICE, demo_translations
from hfdistill.tasks.translation.from_scratch import joint_tokenizer, new_translator, small_marian, untrained_like
from hfdistill.tasks.translation.loading import load_translator
from hfdistill.tasks.translation.metrics import check_sacrebleu, translation_metrics
from hfdistill.tasks.translation.pseudo_translations import pseudo_translations
from hfdistill.tasks.translation.report import compare_translations, write_translations
from hfdistill.tasks.translation.transfer_set import transfer_set
from hfdistill.teachers.seq2seq import Seq2SeqTeacher
from hfdistill.training.seq2seq import Seq2SeqDistillationTrainer

#: Sentences that an exported student is compared with its original on.
CHECKED_TEXTS = 500


class Translator(NamedTuple):
    """A model and its tokenizer."""

    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel


Trainers = dict[str, Seq2SeqDistillationTrainer]
NewStudent = Callable[[PreTrainedTokenizerBase], PreTrainedModel]


def main(words: Sequence[str]) -> None:
    """Runs the command with these options."""
    with plain_errors(
        "the same command with --resume_from_checkpoint true goes on where it stopped",
        "(--train_file reads files, and --demo needs no network.)",
    ):
        distill_translator(read_options(words), words)


def distill_translator(options: TranslateOptions, words: Sequence[str]) -> None:
    """Trains a student as the options say, and leaves it in its folder with card and report.

    Args:
        options: The options.
        words: As they were given, for the card.
    """
    args, texts = options.training, options.texts
    check_sacrebleu()
    folder, resume = begin_run(args)
    data = read_texts(texts)
    teacher = load_teacher(options, data)
    check_feasible(options, teacher)
    parameters, rows = teacher.model.num_parameters(), len(data.dataset["train"])
    print_main(f"{rows:,} training pairs; the teacher has {parameters:,} parameters.")
    say_if_slow(rows, parameters)
    references = data.tokenized(teacher.tokenizer, texts.max_length)
    if options.teacher.train_teacher:
        print_main("Training the teacher.")
        changes = TRANSLATION_DEMO.teacher_training if texts.demo else {}
        teacher_args = args.for_labels_only(str(folder / "_teacher"), **changes)
        train_and_save(new_trainer(teacher.model, teacher_args, references, teacher.tokenizer), resume)

    new_student = student_maker(options, teacher)
    notes = [TRANSLATION_DEMO_NOTICE] if texts.demo else []
    learned = data
    if "sequence" in options.method.methods:
        learned, found = teacher_translations(options, data, teacher)
        notes.append(f"The student learned from the teacher's translations: {found}")
    tokenizer = student_tokenizer(options, data, learned, teacher)
    same_words = tokenizer is teacher.tokenizer
    dataset = references if same_words and learned is data else learned.tokenized(tokenizer, texts.max_length)
    trainers = {"student": train_student(options, teacher, new_student(tokenizer), dataset, tokenizer, resume)}
    if options.outcome.baseline:
        print_main("Training the same student without a teacher.")
        if not same_words:
            references = data.tokenized(tokenizer, texts.max_length)
        # However many rows there are: the student's may be fewer, or more.
        steps = trainers["student"].state.max_steps
        alone = args.for_labels_only(str(folder / "_baseline"), max_steps=steps)
        trainers["baseline"] = new_trainer(new_student(tokenizer), alone, references, tokenizer)
        train_and_save(trainers["baseline"], resume)

    if trainers["student"].is_world_process_zero():
        command = own_command("-m", "hfdistill", "translate", words=words)
        report(options, data, teacher, trainers, tokenizer, notes, command)
    if args.push_to_hub:
        push(trainers["student"])


def read_texts(options: TextOptions) -> TranslationData:
    """The pairs of the demo, of files, or of the Hub; files come before the Hub's other splits."""
    if options.demo:
        return translation_dataset(*demo_translations().values())
    files: list[Any] = [options.train_file, options.validation_file, options.test_file]
    if options.train_file is None:
        hub = load_hub_dataset(options.dataset_name, options.dataset_config_name)
        splits = ("train", "validation", "test")
        files = [file or hub.get(split) for file, split in zip(files, splits, strict=True)]
    return translation_dataset(
        *files,
        source=options.source_lang,
        target=options.target_lang,
        unlabeled_file=options.unlabeled_file,
        skip_empty=options.skip_empty,
    )


def load_teacher(options: TranslateOptions, data: TranslationData) -> Translator:
    """The named teacher, the Hub's, or a new one to train."""
    teacher, max_length = options.teacher, options.texts.max_length
    if not options.new_teacher:
        dtype = "float32" if teacher.train_teacher else "auto"
        return load(options, teacher.teacher_name_or_path or HUB_TEACHER, dtype)
    sizes: dict[str, Any] = {"vocab_size": teacher.vocab_size, "size": teacher.teacher_size}
    return Translator(
        *new_translator(data.training_texts, **sizes, dropout=teacher.teacher_dropout or 0.0, max_length=max_length)
    )


def load(options: TranslateOptions, name: str, dtype: str = "float32") -> Translator:
    """A translator by its name, set to the languages."""
    teacher = options.teacher
    trust, max_length = teacher.trust_remote_code, options.texts.max_length
    tags = (teacher.source_tag, teacher.target_tag)
    return Translator(*load_translator(name, *tags, max_length=max_length, dtype=dtype, trust_remote_code=trust))


def check_feasible(options: TranslateOptions, teacher: Translator) -> None:
    """Refuses a run that could not be finished, before hours of work."""
    own_words = options.student.student_vocab_size
    student = None if own_words else student_maker(options, teacher)(teacher.tokenizer)
    if options.outcome.export:
        check_ctranslate2("marian" if student is None else student.config.model_type)


def student_maker(options: TranslateOptions, teacher: Translator) -> NewStudent:
    """A function that makes the untrained student, the same at each call."""
    student, config = options.student, teacher.model.config
    width = student.student_hidden_size
    encoder_field, decoder_field = count_fields(teacher.model)
    encoder_layers = student.student_num_encoder_layers or getattr(config, encoder_field)
    decoder_layers = student.student_num_decoder_layers or max(1, getattr(config, decoder_field) // 3)
    layers: dict[str, Any] = {"num_encoder_layers": encoder_layers, "num_decoder_layers": decoder_layers}
    # Cut now: --teacher_dtype rounds a teacher that is run.
    shrunk = make_student(teacher.model, **layers) if "shrink" in options.method.methods else None

    def new_student(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        set_seed(options.training.seed)
        if student.student_name_or_path:
            return load(options, student.student_name_or_path).model
        if student.student_vocab_size:
            size = (encoder_layers, decoder_layers, width or config.d_model)
            return small_marian(tokenizer, *size, max_length=options.texts.max_length)
        return copy.deepcopy(shrunk) if shrunk else untrained_like(teacher.model, **layers, hidden_size=width)

    return new_student


def teacher_translations(
    options: TranslateOptions, data: TranslationData, teacher: Translator
) -> tuple[TranslationData, str]:
    """The data with the teacher's translations to train on, and what became of them; validation and test stay."""
    method = options.method
    translated = pseudo_translations(
        teacher.model,
        data.sources,
        teacher.tokenizer,
        source_column=data.source,
        num_beams=method.num_beams,
        num_candidates=method.num_beams if method.interpolate else method.n_best or 1,
        max_length=options.texts.max_length,
        dtype=options.training.teacher_dtype,
    )
    choice = "closest" if method.interpolate else "all" if method.n_best else "best"
    rows, found = transfer_set(translated, data.source, data.target, choice)
    print_main(f"The teacher's translations: {found}")
    return data.with_train(rows), str(found)


def student_tokenizer(
    options: TranslateOptions, data: TranslationData, learned: TranslationData, teacher: Translator
) -> PreTrainedTokenizerBase:
    """The student's: its own, one trained on what it reads, or its teacher's."""
    student = options.student
    if student.student_name_or_path:
        return load(options, student.student_name_or_path).tokenizer
    if not student.student_vocab_size:
        return teacher.tokenizer
    texts = [*learned.training_texts, *data.dataset["train"][data.target][:]]
    return joint_tokenizer(texts, student.student_vocab_size, options.texts.max_length)


def new_trainer(
    model: PreTrainedModel,
    args: TranslationTrainingArguments,
    dataset: DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
    teacher: Seq2SeqTeacher | None = None,
) -> Seq2SeqDistillationTrainer:
    """A trainer on the splits; it measures BLEU and chrF where the evaluation translates."""
    return Seq2SeqDistillationTrainer(
        model,
        args,
        teacher=teacher,
        train_dataset=dataset["train"],
        eval_dataset=dataset["validation"],
        processing_class=tokenizer,
        compute_metrics=translation_metrics(tokenizer) if args.predict_with_generate else None,
    )


def train_student(
    options: TranslateOptions,
    teacher: Translator,
    student: PreTrainedModel,
    dataset: DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
    resume: bool,
) -> Seq2SeqDistillationTrainer:
    """The trained student: word by word from the teacher or its stored distributions, or from the texts alone."""
    print_main("Training the student.")
    args, live = options.training, None
    if "word" in options.method.methods:
        live = Seq2SeqTeacher(teacher.model, teacher.tokenizer, dtype=args.teacher_dtype)
    else:
        args = args.for_labels_only(str(args.output_dir), push_to_hub=args.push_to_hub)
    if options.method.soft_targets:
        splits = DatasetDict({name: dataset[name] for name in ("train", "validation")})
        how: dict[str, Any] = {"method": options.method.soft_targets, "temperature": args.temperature}
        dataset, live = token_soft_targets(live, splits, tokenizer, **how), None
    trainer = new_trainer(student, args, dataset, tokenizer, live)
    train_and_save(trainer, resume)
    return trainer


def report(
    options: TranslateOptions,
    data: TranslationData,
    teacher: Translator,
    trainers: Trainers,
    tokenizer: PreTrainedTokenizerBase,
    notes: list[str],
    command: list[str],
) -> None:
    """Measures the models, writes report and card, and prints the table."""
    trainer = trainers["student"]
    folder, rows = Path(str(trainer.args.output_dir)), data.dataset[data.measured_split]
    models: dict[str, Any] = {"teacher": teacher.model, **{role: one.model for role, one in trainers.items()}}
    search = {"num_beams": options.method.num_beams, "max_length": options.texts.max_length}
    attempt = Attempts()
    if options.outcome.export:
        export = partial(exported, trainer.model, tokenizer, rows[data.source][:CHECKED_TEXTS], folder, search)
        if made := attempt("the export for CTranslate2", export):  # the student is worth its report all the same
            models["ctranslate2"], note = made
            notes.append(note)
    comparison = compare_translations(
        models,
        {role: teacher.tokenizer if role == "teacher" else tokenizer for role in models},
        rows,
        source=data.source,
        target=data.target,
        split=data.measured_split,
        **search,
    )
    pages = attempt("the page of translations", partial(write_translations, folder, comparison))
    notes += attempt.notes
    histories = {role: one.state.log_history for role, one in trainers.items()}
    write_report(folder, comparison, histories, [*notes, *([pages] if pages else [])])
    trainer.card_facts = card_facts(options, data, comparison, notes, command)
    attempt("the model card", trainer.create_model_card)
    print_main(f"\n{comparison.table()}\n\nStudent, card and report are in {folder}/.")
    if options.texts.demo:
        print_main(TRANSLATION_DEMO_NOTICE)


def exported(
    student: Any,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    folder: Path,
    search: dict[str, int],
) -> tuple[CTranslate2Model, str]:
    """The student for CTranslate2, and what became of its translations."""
    model, parity = export_ctranslate2(student, tokenizer, texts, folder, **search)
    return model, f"CTranslate2 in int8 against the student: greedy {parity['greedy']}; beam {parity['beam']}."


def card_facts(
    options: TranslateOptions, data: TranslationData, comparison: Comparison, notes: list[str], command: list[str]
) -> CardFacts:
    texts = options.texts
    trained_here = f"a small Marian trained by this command on {texts.source_lang} and {texts.target_lang}"
    teacher = None if options.new_teacher else options.teacher.teacher_name_or_path or HUB_TEACHER
    origin = options.student.student_name_or_path or teacher
    languages = [name for name in (texts.source_lang, texts.target_lang) if len(name) == 2]
    monolingual = data.monolingual if "sequence" in options.method.methods else None
    return CardFacts(
        teacher=teacher or trained_here,
        dataset="a generated demo corpus" if texts.demo else texts.train_file or texts.dataset_name,
        comparison=comparison,
        command=command,
        labeled_rows=len(data.dataset["train"]),
        unlabeled_rows=0 if monolingual is None else len(monolingual),
        task="translation",
        license=teacher_license(origin) if origin else None,
        language=languages if len(languages) == 2 else teacher_language(origin) if origin else None,
        base_model=origin,
        notes=notes,
    )
