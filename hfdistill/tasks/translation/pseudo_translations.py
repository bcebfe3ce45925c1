"""The translations of a teacher, made once and kept on disk."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from datasets import Dataset, Features, List, Value
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.data.streamed import row_tuples, streamed_dataset, with_columns
from hfdistill.export.base import check_export
from hfdistill.models.inputs import decoder_positions
from hfdistill.soft_targets.shards import Shard
from hfdistill.tasks.translation.ctranslate2_maker import CTranslate2Maker
from hfdistill.tasks.translation.sampling import sampling_settings
from hfdistill.tasks.translation.translation_makers import Candidate, TranslationMaker
from hfdistill.teachers import ModelTeacher
from hfdistill.teachers.seq2seq import Seq2SeqTeacher, as_seq2seq_teacher
from hfdistill.teachers.translator_ensemble import TranslatorEnsemble, translator_ensemble

#: How CTranslate2 keeps weights.
PRECISIONS = ("float32", "bfloat16", "float16", "int8")
#: The column of a teacher's translations: for each row a list of candidates, the likeliest first.
TRANSLATIONS = "teacher_translations"
_CANDIDATE = {"text": Value("string"), "finished": Value("bool"), "score": Value("float64"), "tokens": Value("int64")}


def pseudo_translations(
    teacher: Any,
    dataset: Dataset,
    processing_class: PreTrainedTokenizerBase | None = None,
    *,
    source_column: str,
    num_beams: int | None = None,
    num_candidates: int = 1,
    do_sample: bool = False,
    seed: int = 0,
    max_length: int | None = None,
    batch_size: int = 64,
    dtype: str | None = None,
    engine: str = "transformers",
    store: str | os.PathLike[str] | None = None,
    shard: str | None = None,
    **generation: Any,
) -> Dataset:
    """Translate a dataset with a teacher, once: the rows, with its candidates in a column `teacher_translations`.

    Each distinct text is translated once, in batches of like length; under `accelerate launch` all processes share the
    work. The translations are kept on disk under what they depend on (the teacher's weights, its generation settings,
    the tokens), so that a second call translates only what is new, and a killed one goes on where it was.
    `transfer_set` makes training rows of the result.

    Args:
        teacher: An encoder-decoder, a name or path, or a `Seq2SeqTeacher`. Of a list of several, which must share one
            vocabulary, the mean of their probabilities is searched, token by token; with CTranslate2 each writes the
            candidates of its beam, and these are ordered by the mean probabilities of their tokens.
        dataset: Rows with the texts to translate: the split to train on.
        processing_class: The teacher's tokenizer, set to the languages where it has several; a teacher given by name
            brings its own.
        source_column: The column of the texts.
        num_beams: Width of the beam search; by default 5, as in Kim & Rush.
        num_candidates: How many of the beam's hypotheses to keep, or how many samples to draw of each text.
        do_sample: Whether to draw translations from the teacher's distribution in place of a search, as for
            back-translation (Edunov et al. 2018). It is whole but for `temperature`, `top_k` and `top_p` given here;
            penalties of the teacher's generation config hold.
        seed: Another seed draws other samples. What is drawn of a text depends on nothing but this, the text and the
            settings; CTranslate2 draws for a batch at once, so that there `batch_size`, the number of processes and
            what is in `store` already change samples, too.
        max_length: The most target tokens of a translation; by default 256, or as many as the teacher has positions.
        batch_size: Texts a process translates at once; the translations do not depend on it but for rounding.
        dtype: The dtype to run the teacher in, such as `bfloat16`; default its own. CTranslate2 takes `int8`, too, and
            by default float32.
        engine: What runs the teacher: `transformers`, or `ctranslate2`, which is many times as fast on a processor; its
            translations are the same but for rounding.
        store: The folder to keep the translations in. Default: one in the Hugging Face cache.
        shard: Such as `3/16`: of sixteen parts of the texts, told apart by their content, this call translates the
            third, and returns its rows alone. So many machines need not know of one another; `merge_stores` puts
            their stores together for a last call without `shard`.
        **generation: Other settings of `transformers.GenerationConfig`, such as `length_penalty` or
            `forced_bos_token_id`, in place of the teacher's own.

    Returns:
        The dataset with a list of `{"text", "finished", "score", "tokens"}` in each row, in the order of the search, of
        samples in that of their scores; `finished` is false where `max_length` cut one. `score` is the sum of the
        teacher's log-probabilities of `tokens` tokens, its end among them, in nats; `score / tokens` is normalized for
        length. Settings of the search, such as a penalty, or of sampling are not in it; tokens that CTranslate2 may
        never choose have no probability there.

    Raises:
        ValueError: when there is no teacher, the tokenizer or the column is missing, the column holds no text or a text
            is empty, more candidates are wanted than the beam has, a setting is unknown, decided by another argument or
            without effect, the teacher cannot stop, `max_length` is too short for a translation or longer than the
            teacher's positions, several teachers do not share one vocabulary, or there is no such shard.
        StaleSoftTargets: when `store` holds the translations of another teacher or other settings.
    """
    part = None if shard is None else Shard.of(shard)
    translator = _translator_of(teacher, dtype if engine == "transformers" else None)
    tokenizer = processing_class or translator.processing_class
    if tokenizer is None:
        raise ValueError("pseudo_translations needs the teacher's tokenizer: pass processing_class=tokenizer.")
    if num_candidates < 1:
        raise ValueError(f"num_candidates must be 1 or more, got {num_candidates}.")
    check_texts(dataset, source_column)
    changes = _changed_settings(
        translator.model,
        generation,
        do_sample=do_sample,
        num_beams=_beam(num_beams, num_candidates, do_sample),
        num_return_sequences=num_candidates,
        max_length=max_length or min(256, _positions(translator.model) or 256),
    )
    # A plain reader: what a `Seq2SeqTeacher` refuses, a tokenizer of its own, does no harm to whole translations.
    reader = ModelTeacher(translator.model, tokenizer, [source_column])
    maker = _maker_of(engine, dtype, reader, changes, batch_size, store, seed)
    if part is None:
        keys = maker.keys_of(dataset)
    else:
        rows, keys = maker.keys_of_shard(dataset, part)
        dataset = dataset.select(rows)
    return with_translations(dataset, lambda: maker.candidates(keys), maker.store.content(keys))


def with_translations(
    dataset: Dataset, candidates: Callable[[], Iterable[Iterable[Candidate]]], depends_on: Mapping[str, Any]
) -> Dataset:
    """The rows with the candidates of each in a column `teacher_translations`, which is on disk.

    Args:
        dataset: The rows.
        candidates: Yields those of each row.
        depends_on: What they depend on, as for `streamed_dataset`.
    """
    features = Features({TRANSLATIONS: List(_CANDIDATE)})
    column = streamed_dataset(lambda: (([one._asdict() for one in row],) for row in candidates()), features, depends_on)
    if TRANSLATIONS in dataset.column_names:
        dataset = dataset.remove_columns(TRANSLATIONS)
    return with_columns(dataset, column)


def _translator_of(teacher: Any, dtype: str | None) -> Seq2SeqTeacher:
    translator = as_seq2seq_teacher(teacher, dtype)
    if isinstance(translator, list):
        translator = translator_ensemble(translator)
    if not isinstance(translator, Seq2SeqTeacher):
        raise ValueError(
            "pseudo_translations runs a model, given by object, name or path, or a list of them, not "
            f"{type(translator).__name__}."
        )
    return translator


def _maker_of(engine: str, dtype: str | None, *given: Any) -> TranslationMaker:
    """What runs the teacher."""
    if engine == "transformers":
        return TranslationMaker(*given)
    if engine != "ctranslate2":
        raise ValueError(
            f"engine must be transformers or ctranslate2, got {engine!r}; a server, such as vLLM's, translates with "
            "api_translations."
        )
    model: Any = given[0].model
    for one in model.members if isinstance(model, TranslatorEnsemble) else [model]:
        check_export(["ctranslate2"], "translation", one.config.model_type)
    if dtype not in (None, "auto", *PRECISIONS):
        raise ValueError(f"CTranslate2 keeps weights in {', '.join(PRECISIONS)}; got dtype={dtype!r}.")
    return CTranslate2Maker(*given, precision="float32" if dtype in (None, "auto") else dtype)


def check_texts(dataset: Any, source_column: str) -> None:
    """Refuses a dataset that has no texts to translate in a column, or empty ones.

    Raises:
        ValueError: saying what is wrong.
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"pseudo_translations takes a Dataset, not a {type(dataset).__name__}: give it the split to train on, such "
            "as dataset['train'], loaded and not streamed."
        )
    if source_column not in dataset.column_names:
        raise ValueError(f"there is no column {source_column!r} to translate; the columns are {dataset.column_names}.")
    feature = dataset.features[source_column]
    kind = getattr(feature, "dtype", type(feature).__name__)
    if "string" not in kind:
        raise ValueError(f"column {source_column!r} holds values of the type {kind}: name a column of texts.")
    texts = row_tuples(dataset, [source_column])
    empty = [row for row, (text,) in enumerate(texts) if not (text and text.strip())]
    if empty:
        raise ValueError(
            f"row {empty[0]} of column {source_column!r} is empty, and {len(empty) - 1} more: there is nothing to "
            "translate; filter such rows out first."
        )


def _beam(num_beams: int | None, num_candidates: int, do_sample: bool) -> int:
    """The width of the beam, 1 for samples."""
    if do_sample:
        if num_beams not in (None, 1):
            raise ValueError(f"num_beams={num_beams} is of a beam search, and do_sample=True has none: leave one out.")
        return 1
    width = 5 if num_beams is None else num_beams
    if num_candidates > width:
        raise ValueError(f"num_candidates={num_candidates} are more than a beam of {width} has: widen num_beams.")
    return width


def _changed_settings(model: PreTrainedModel, generation: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """The settings of `generate` beside the teacher's own generation config, where that leads to translations."""
    # The teacher's own `max_new_tokens` would come before `max_length`.
    own = {"max_new_tokens": None, **own}
    decided = [name for name in own if name in generation]
    if decided:
        raise ValueError(
            f"{', '.join(decided)} cannot be set: num_candidates translations of at most max_length tokens are made."
        )
    changes = {**own, **generation, **sampling_settings(own["do_sample"], generation)}
    settings: Any = copy.deepcopy(model.generation_config)
    unknown = settings.update(**changes)
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such setting of transformers.GenerationConfig; is it misspelled?")
    if settings.eos_token_id is None:
        raise ValueError(
            "the teacher's generation config has no eos_token_id, so that it can never stop: set "
            "teacher.generation_config.eos_token_id."
        )
    _check_max_length(settings, _positions(model))
    return changes


def _positions(model: PreTrainedModel) -> int | None:
    """How many tokens a translation may have at all, where the model has a limit."""
    return decoder_positions(model.config)


def _check_max_length(settings: Any, positions: int | None) -> None:
    before_end = settings.min_length if settings.min_new_tokens is None else settings.min_new_tokens + 1
    # The start token comes before any end, and one in the last place may be forced.
    needed = max(1, before_end or 0) + 2
    if settings.max_length < needed:
        raise ValueError(
            f"max_length={settings.max_length} leaves a translation no room to end by itself: raise it to {needed} at "
            "least, or lower the min_length or min_new_tokens of the generation config."
        )
    if positions is not None and settings.max_length > positions:
        raise ValueError(
            f"max_length={settings.max_length} is more than the {positions} positions of the teacher: lower it."
        )
