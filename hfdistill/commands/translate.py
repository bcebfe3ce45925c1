"""`hfdistill translate`: distill a translation model, from pairs of texts to a student with its report and card.

1. Read pairs of texts (from the Hub, your own files, or a generated demo corpus); --clean drops those that are no
   translations.
2. Take a trained teacher, or train one first (--train_teacher).
3. sequence: the teacher translates the training texts, once, and the student learns from its translations; with
   --shard several machines translate a part each, and nothing more.
4. shrink: the student starts from some of the teacher's layers, with fewer of its tokens where --student_vocab_size
   says so; otherwise it starts untrained.
5. word: at each target token the student also learns the teacher's distribution.
6. With --baseline, train the same student on reference translations alone, on the same budget.
7. With --export, such as for CTranslate2, write the student for another engine, too.
8. Compare them; write the student, its card and its report.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

from accelerate import PartialState
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from hfdistill.commands.command_line import run_command
from hfdistill.commands.translate_options import NEW_TEACHER, TranslateOptions, read_options
from hfdistill.export.base import check_export
from hfdistill.models.adapters import load_config
from hfdistill.models.families import size_in
from hfdistill.report.terminal import begin_stage, plan_stages, print_main
from hfdistill.soft_targets.shards import merge_stores
from hfdistill.soft_targets.token_soft_targets import token_soft_targets
from hfdistill.students.factory import make_student
from hfdistill.students.vocabulary import TrimmedVocabulary, with_vocabulary
from hfdistill.tasks.translation.data import TranslationData
from hfdistill.tasks.translation.from_scratch import joint_tokenizer, small_marian, untrained_like
from hfdistill.tasks.translation.models import (
    Translator,
    default_decoder_depth,
    load_translation_teacher,
    load_translator,
    train_translation_teacher,
    translation_trainer,
    translators_together,
)
from hfdistill.tasks.translation.pseudo_translations import pseudo_translations
from hfdistill.tasks.translation.quality_estimation import quality_scores
from hfdistill.tasks.translation.run_report import report_translation_run
from hfdistill.tasks.translation.sources import translation_data
from hfdistill.tasks.translation.transfer_set import TransferReport, transfer_set
from hfdistill.teachers.seq2seq import Seq2SeqTeacher, check_positions
from hfdistill.teachers.translator_ensemble import first_member
from hfdistill.training.run import begin_run, push, train_and_save
from hfdistill.training.seq2seq import Seq2SeqDistillationTrainer

NewStudent = Callable[[PreTrainedTokenizerBase, TrimmedVocabulary | None], PreTrainedModel]


def main(words: Sequence[str] | None = None) -> None:
    """Runs the command.

    Args:
        words: Its options; default those of this program.
    """
    run_command(lambda: _run(read_options(words)))


def _run(options: TranslateOptions) -> None:
    if options.method.shard:
        translate_shard(options)
    else:
        distill_translator(options)


def distill_translator(options: TranslateOptions) -> None:
    """Trains a student as the options say, and leaves it in its folder with card and report."""
    args, max_length = options.training, options.texts.max_length
    folder, resume = begin_run(args)
    data = read_texts(options)
    teacher = load_teacher(options, data)
    check_feasible(options, data, teacher)
    references = data.tokenized(teacher.tokenizer, max_length)
    chosen = (options.teacher.train_teacher, "sequence" in options.method.methods, options.outcome.baseline)
    plan_stages(2 + sum(map(bool, chosen)))  # student and comparison there are in any case
    if options.teacher.train_teacher:
        train_translation_teacher(teacher, references, args, resume, data.demo)

    new_student = student_maker(options, teacher)
    learned, found = data, None
    if "sequence" in options.method.methods:
        learned, found = teacher_translations(options, data, teacher)
    vocabulary = trimmed_vocabulary(options, data, learned, teacher)
    tokenizer = vocabulary.tokenizer if vocabulary else student_tokenizer(options, data, learned, teacher)
    if vocabulary:
        print_main(str(vocabulary))
    if tokenizer is not teacher.tokenizer:
        references = data.tokenized(tokenizer, max_length)
    dataset = references if learned is data else learned.tokenized(tokenizer, max_length)
    trainer = train_student(options, teacher, new_student(tokenizer, vocabulary), dataset, tokenizer, resume)
    baseline = None
    if options.outcome.baseline:
        begin_stage("Training the same student without a teacher.")
        # However many rows there are: the student's may be fewer, or more.
        alone = args.for_labels_only(f"{folder}/_baseline", max_steps=trainer.state.max_steps)
        baseline = translation_trainer(new_student(tokenizer, vocabulary), alone, references, tokenizer)
        train_and_save(baseline, resume, keep_checkpoints=False)

    search = {"num_beams": options.method.num_beams, "max_length": max_length}
    formats = options.outcome.export or ()
    how: dict[str, Any] = {"formats": formats, **search}
    report_translation_run(trainer, teacher, data, baseline=baseline, translations=found, vocabulary=vocabulary, **how)
    if args.push_to_hub:
        push(trainer)


def translate_shard(options: TranslateOptions) -> None:
    """Translates one machine's part of the texts, for a run without --shard to find."""
    plan_stages(1)
    data = read_texts(options)
    rows = translated_by(options, data, load_teacher(options, data))
    where = (options.method.translations or ["the cache"])[0]
    print_main(
        f"Shard {options.method.shard}: {len(rows):,} of {len(data.sources):,} texts are translated, and kept in "
        f"{where}. Once all shards are, run the same without --shard; --translations takes the folders of all machines."
    )


def read_texts(options: TranslateOptions) -> TranslationData:
    """The pairs of texts, with what cleaning found; a teacher for which they are too long is refused before that."""
    for name in options.teacher.teacher_name_or_path or ():
        check_positions(load_config(name, options.teacher.trust_remote_code), options.texts.max_length)
    data = translation_data(**{name: value for name, value in asdict(options.texts).items() if name != "max_length"})
    for report in data.cleanings:
        print_main(str(report))
    return data


def load_teacher(options: TranslateOptions, data: TranslationData) -> Translator:
    """The named teacher, the Hub's, or a new one to train; several as one that only translates."""
    teacher = options.teacher
    given = {ours: getattr(teacher, name) for name, ours in NEW_TEACHER.items()}
    new = {name: value for name, value in given.items() if value is not None}
    names: list[Any] = teacher.teacher_name_or_path or [None]
    how: dict[str, Any] = {"train": teacher.train_teacher, "new": new, **_loading(options)}
    loaded = [load_translation_teacher(name, data, **how) for name in names]
    return loaded[0] if len(loaded) == 1 else translators_together(loaded)


def _loading(options: TranslateOptions) -> dict[str, Any]:
    """How `load_translator` loads each of the run's translators."""
    names = ("source_tag", "target_tag", "trust_remote_code")
    return {"max_length": options.texts.max_length, **{name: getattr(options.teacher, name) for name in names}}


def load_named_student(options: TranslateOptions) -> Translator:
    """The pretrained student."""
    return load_translator(str(options.student.student_name_or_path), dtype="float32", **_loading(options))


def check_feasible(options: TranslateOptions, data: TranslationData, teacher: Translator) -> None:
    """Refuses a run that could not be finished, before hours of work."""
    trimmed_vocabulary(options, data, data, teacher)
    own_words = options.student.student_vocab_size and "shrink" not in options.method.methods
    student = None if own_words else student_maker(options, teacher)(teacher.tokenizer, None)
    model_type = "marian" if student is None else student.config.model_type
    check_export(options.outcome.export or [], "translation", model_type)


def student_maker(options: TranslateOptions, teacher: Translator) -> NewStudent:
    """A function that makes the untrained student, the same at each call."""
    student, model = options.student, first_member(teacher.model)
    config = model.config
    encoder_layers, width = student.student_num_encoder_layers, student.student_hidden_size
    decoder_layers = student.student_num_decoder_layers or default_decoder_depth(model)
    layers: dict[str, Any] = {"num_encoder_layers": encoder_layers, "num_decoder_layers": decoder_layers}
    # Cut now: --teacher_dtype rounds a teacher that is run.
    shrunk = make_student(model, **layers) if "shrink" in options.method.methods else None

    def new_student(tokenizer: PreTrainedTokenizerBase, vocabulary: TrimmedVocabulary | None) -> PreTrainedModel:
        if student.student_name_or_path:
            return load_named_student(options).model
        if shrunk is not None:
            return copy.deepcopy(shrunk) if vocabulary is None else with_vocabulary(shrunk, vocabulary)
        set_seed(options.training.seed)
        if student.student_vocab_size:
            depth = encoder_layers or size_in(config, "layers", "encoder") or 1
            size = (depth, decoder_layers, width or config.d_model)
            return small_marian(tokenizer, *size, max_length=options.texts.max_length)
        return untrained_like(model, **layers, hidden_size=width)

    return new_student


def teacher_translations(
    options: TranslateOptions, data: TranslationData, teacher: Translator
) -> tuple[TranslationData, TransferReport]:
    """The data with the teacher's translations to train on, and what became of them; validation and test stay."""
    method = options.method
    translated = translated_by(options, data, teacher)
    choice = method.choose or ("all" if method.n_best else "best")
    if method.quality_command is not None:
        translated = quality_scores(translated, method.quality_command, source_column=data.source)
    rows, found = transfer_set(translated, data.source, data.target, choice)
    print_main(f"The teacher's translations: {found}")
    return data.with_train(rows), found


def translated_by(options: TranslateOptions, data: TranslationData, teacher: Translator) -> Dataset:
    """The texts with the teacher's candidates, of a shard its own texts."""
    begin_stage("Translating the texts with the teacher.")
    method, folders = options.method, options.method.translations or []
    if len(folders) > 1:
        with PartialState().main_process_first():
            merge_stores(folders[1:], folders[0])
    return pseudo_translations(
        teacher.model,
        data.sources,
        teacher.tokenizer,
        source_column=data.source,
        num_beams=None if method.sample else method.num_beams,
        num_candidates=method.num_beams if method.choose else method.n_best or 1,
        do_sample=method.sample,
        seed=options.training.seed,
        max_length=options.texts.max_length,
        dtype=method.engine_dtype or options.training.teacher_dtype,
        engine=method.engine,
        store=folders[0] if folders else None,
        shard=method.shard,
    )


def trimmed_vocabulary(
    options: TranslateOptions, data: TranslationData, learned: TranslationData, teacher: Translator
) -> TrimmedVocabulary | None:
    """With --student_vocab_size, of a student that shrinks its teacher: the tokens that its texts are made of."""
    size = options.student.student_vocab_size
    if not size or "shrink" not in options.method.methods:
        return None
    validation = data.dataset["validation"]
    held_out = chain(validation[data.source], validation[data.target])
    texts = student_texts(data, learned)
    return TrimmedVocabulary.choose(first_member(teacher.model), teacher.tokenizer, texts, size, held_out)


def student_texts(data: TranslationData, learned: TranslationData) -> Iterator[str]:
    """What the student learns from, and the reference translations, which a baseline learns from."""
    return chain(learned.training_texts, data.texts(data.target))


def student_tokenizer(
    options: TranslateOptions, data: TranslationData, learned: TranslationData, teacher: Translator
) -> PreTrainedTokenizerBase:
    """The student's: its own, one trained on what it reads, or its teacher's."""
    student = options.student
    if student.student_name_or_path:
        return load_named_student(options).tokenizer
    if not student.student_vocab_size:
        return teacher.tokenizer
    return joint_tokenizer(student_texts(data, learned), student.student_vocab_size, options.texts.max_length)


def train_student(
    options: TranslateOptions,
    teacher: Translator,
    student: PreTrainedModel,
    dataset: DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
    resume: bool,
) -> Seq2SeqDistillationTrainer:
    """The trained student: word by word from the teacher or its stored distributions, or from the texts alone."""
    begin_stage("Training the student.")
    args, live = options.training, None
    if "word" in options.method.methods:
        live = Seq2SeqTeacher(teacher.model, teacher.tokenizer, dtype=args.teacher_dtype)
    else:
        args = args.for_labels_only(str(args.output_dir), push_to_hub=args.push_to_hub)
    if options.method.soft_targets:
        splits = DatasetDict({name: dataset[name] for name in ("train", "validation")})
        how: dict[str, Any] = {"method": options.method.soft_targets, "temperature": args.temperature}
        dataset, live = token_soft_targets(live, splits, tokenizer, **how), None
    trainer = translation_trainer(student, args, dataset, tokenizer, live)
    train_and_save(trainer, resume)
    return trainer
