"""Translators by their names, loaded from a folder or the Hub and set to their languages; the teacher of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from datasets import DatasetDict
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from hfdistill.models.adapters import load_model
from hfdistill.models.families import size_in
from hfdistill.models.loading import load_tokenizer
from hfdistill.report.terminal import begin_stage, print_main, say_if_slow
from hfdistill.students.factory import make_student
from hfdistill.tasks.translation.arguments import TranslationTrainingArguments
from hfdistill.tasks.translation.data import TranslationData
from hfdistill.tasks.translation.demo import NEW_TEACHER, TEACHER_TRAINING
from hfdistill.tasks.translation.from_scratch import new_translator, untrained_like
from hfdistill.tasks.translation.metrics import translation_metrics
from hfdistill.teachers.seq2seq import Seq2SeqTeacher, check_translator, languages_agree, set_languages
from hfdistill.teachers.translator_ensemble import translator_ensemble
from hfdistill.training.run import train_and_save
from hfdistill.training.seq2seq import Seq2SeqDistillationTrainer

HUB_TEACHER = "Helsinki-NLP/opus-mt-en-de"


class Translator(NamedTuple):
    """An encoder-decoder and its tokenizer."""

    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel


def load_translator(
    name: str,
    *,
    source_tag: str | None = None,
    target_tag: str | None = None,
    max_length: int = 128,
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Translator:
    """An encoder-decoder and its tokenizer, both set to the languages where there are several.

    Args:
        name: A folder, or a name on the Hub.
        source_tag: The source language as the tokenizer of a model of many languages writes it, such as `eng_Latn`.
        target_tag: The target language, likewise.
        max_length: The most tokens that a text will have on either side.
        dtype: The dtype of the weights; `float32` for a model to train, `auto` as it was saved.
        trust_remote_code: Whether code that is kept there is run.

    Raises:
        HubUnreachableError: when the Hub is needed and cannot be reached.
        OSError: when there is no such model.
        ValueError: when what is there does not translate, of many languages none are chosen, or its translations could
            not end or be as long as `max_length`.
    """
    tokenizer = load_tokenizer(name, trust_remote_code)
    model: PreTrainedModel = load_model(AutoModelForSeq2SeqLM, name, trust_remote_code, dtype=dtype)
    if source_tag and target_tag:
        set_languages(model, tokenizer, source_tag, target_tag)
    elif not languages_agree(model, tokenizer):
        raise ValueError(f"{name} speaks many languages: name two with --source_tag and --target_tag.")
    check_translator(model, tokenizer, max_length)
    return Translator(tokenizer, model)


def load_translation_teacher(
    name: str | None,
    data: TranslationData,
    *,
    train: bool = False,
    max_length: int = 128,
    new: dict[str, Any] | None = None,
    **loading: Any,
) -> Translator:
    """Load the teacher, or make a new one to train, and print its size.

    Args:
        name: Its name or path. Without one it is OPUS-MT from the Hub; where it is trained, and for the demo's
            data, a new small Marian.
        data: The texts that it is to translate; of the demo's, the new teacher has the demo's sizes.
        train: Whether it will be trained on the texts (`train_translation_teacher`).
        max_length: The most tokens of a text on either side.
        new: Sizes of a new one, as `new_translator` takes them.
        **loading: More of `load_translator`, such as `source_tag`.
    """
    if name is None and (train or data.demo):
        sizes = {**(NEW_TEACHER if data.demo else {}), **(new or {})}
        teacher = Translator(*new_translator(data.training_texts, max_length=max_length, **sizes))
    else:
        dtype = "float32" if train else "auto"
        teacher = load_translator(name or HUB_TEACHER, max_length=max_length, dtype=dtype, **loading)
    rows, parameters = len(data.dataset["train"]), teacher.model.num_parameters()
    print_main(f"{rows:,} training pairs; the teacher has {parameters:,} parameters.")
    say_if_slow(rows, parameters)
    return teacher


def translators_together(loaded: Sequence[Translator]) -> Translator:
    """Several translators as one that writes by the mean of their probabilities, see `TranslatorEnsemble`.

    Raises:
        ValueError: unless they share one vocabulary.
    """
    teacher = translator_ensemble([Seq2SeqTeacher(one.model, one.tokenizer) for one in loaded])
    assert teacher.processing_class is not None
    return Translator(teacher.processing_class, teacher.model)


def make_translation_student(
    teacher: PreTrainedModel,
    *,
    num_encoder_layers: int | None = None,
    num_decoder_layers: int | None = None,
    hidden_size: int | None = None,
    shrink: bool | None = None,
    seed: int = 42,
) -> PreTrainedModel:
    """Make a student of some of the teacher's layers, or an untrained one of its class and vocabulary.

    Args:
        teacher: An encoder-decoder.
        num_encoder_layers: The encoder's layers; default as many as the teacher's.
        num_decoder_layers: The decoder's layers; default a third of the teacher's. A decoder runs once a token and an
            encoder once a text, so that speed comes from a shallow decoder.
        hidden_size: The width of an untrained student.
        shrink: Whether it starts from the teacher's layers; default unless there is a `hidden_size`.
        seed: Of what is initialized.

    References: shrinking, Shleifer & Rush 2020, https://huggingface.co/papers/2010.13002.
    """
    set_seed(seed)
    num_decoder_layers = num_decoder_layers or default_decoder_depth(teacher)
    layers: dict[str, Any] = {"num_encoder_layers": num_encoder_layers, "num_decoder_layers": num_decoder_layers}
    if (hidden_size is None) if shrink is None else shrink:
        return make_student(teacher, **layers)
    return untrained_like(teacher, **layers, hidden_size=hidden_size)


def default_decoder_depth(teacher: PreTrainedModel) -> int:
    """How many decoder layers a student has by default: a third of its teacher's, and one at least."""
    return max(1, (size_in(teacher.config, "layers", "decoder") or 1) // 3)


def translation_trainer(
    model: PreTrainedModel,
    args: TranslationTrainingArguments,
    dataset: DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
    teacher: Seq2SeqTeacher | None = None,
) -> Seq2SeqDistillationTrainer:
    """A trainer on tokenized splits; it measures BLEU and chrF where `args.predict_with_generate`.

    Args:
        model: The student, or a teacher to train.
        args: Its training arguments.
        dataset: The splits, as `TranslationData.tokenized` makes them.
        tokenizer: The tokenizer that they were tokenized with.
        teacher: The teacher that is run in every step, if any.
    """
    return Seq2SeqDistillationTrainer(
        model,
        args,
        teacher=teacher,
        train_dataset=dataset["train"],
        eval_dataset=dataset["validation"],
        processing_class=tokenizer,
        compute_metrics=translation_metrics(tokenizer) if args.predict_with_generate else None,
    )


def train_translation_teacher(
    teacher: Translator,
    dataset: DatasetDict,
    args: TranslationTrainingArguments,
    resume: bool = False,
    demo: bool = False,
) -> None:
    """Train a teacher on reference translations, in the folder `_teacher` of `output_dir`.

    Args:
        teacher: As `load_translation_teacher(..., train=True)` makes it.
        dataset: The splits, tokenized with its tokenizer.
        args: The student's training arguments, of which terms, stages and folder are replaced.
        resume: Whether an interrupted run is continued.
        demo: Whether the texts are the demo corpus, for which there are settings of its own.
    """
    begin_stage("Training the teacher.")
    alone = args.for_labels_only(f"{args.output_dir}/_teacher", **(TEACHER_TRAINING if demo else {}))
    trainer = translation_trainer(teacher.model, alone, dataset, teacher.tokenizer)
    train_and_save(trainer, resume, keep_checkpoints=False)
