"""The tokens that a Whisper begins to write with: which language is spoken, and whether it is translated.

They stand behind the start token, in `generate` by the generation config and in labels by the tokenizer. Where the two
begin otherwise, a student is trained for one task and asked for another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: What a Whisper's decoder reads first; its tokenizer puts it before every text.
START = "<|startoftranscript|>"
TASKS = ("transcribe", "translate")


def set_speech_task(model: Any, processing_class: Any, language: str | None = None, task: str = "transcribe") -> None:
    """Makes a Whisper of many languages write down one of them, or translate it into English, from now on.

    Its `generate` and the texts that its tokenizer makes labels of then begin alike, and so do those of a student that
    `make_student` makes of it.

    Args:
        model: The Whisper; its generation config is set.
        processing_class: Its processor, or its tokenizer, which is set likewise.
        language: What is spoken, such as `de` or `german`; also to translate, which is into English.
        task: `transcribe` or `translate`.

    Raises:
        ValueError: for a model that has no such tasks, knows English alone, or does not know the language or the task.
    """
    tokenizer, settings = getattr(processing_class, "tokenizer", processing_class), model.generation_config
    if not hasattr(tokenizer, "set_prefix_tokens") or not hasattr(settings, "no_timestamps_token_id"):
        raise ValueError(f"a {type(model).__name__} is not told what to write by tokens: only a Whisper is.")
    languages = getattr(settings, "lang_to_id", None)
    if not languages:
        raise ValueError("this Whisper writes down English alone: leave set_speech_task (--language) out.")
    if task not in TASKS:
        raise ValueError(f"task must be {' or '.join(TASKS)}, got {task!r}.")
    before = tokenizer.language, tokenizer.task
    try:
        tokenizer.set_prefix_tokens(language, task, predict_timestamps=False)
        named = tokenizer.convert_ids_to_tokens(tokenizer.prefix_tokens[1:2])
    except ValueError:
        named = [str(language)]
    if language is None or not set(named) <= {*languages}:
        tokenizer.language, tokenizer.task = before
        tokenizer.set_prefix_tokens()
        known = ", ".join(name.strip("<|>") for name in [*languages][:8])
        raise ValueError(f"the teacher has no language {language!r}; name what is spoken: it knows {known}, ...")
    settings.language, settings.task, settings.forced_decoder_ids = tokenizer.language, task, None


def prompt_of(settings: Any, **changes: Any) -> list[int] | None:
    """What a Whisper begins to write with, its start token included; `None` where it finds out the language itself.

    Args:
        settings: Its generation config.
        **changes: Those of a call of `generate`, such as `language` and `task`.
    """
    language = changes.get("language", getattr(settings, "language", None))
    task = changes.get("task", getattr(settings, "task", None))
    languages, prompt = getattr(settings, "lang_to_id", None), [settings.decoder_start_token_id]
    if languages:
        token = _token_of(language, languages)
        if token is None:
            return None
        prompt += [token, settings.task_to_id[task or "transcribe"]]
    timestamps = changes.get("return_timestamps", getattr(settings, "return_timestamps", False))
    return prompt if timestamps else [*prompt, settings.no_timestamps_token_id]


def _token_of(language: Any, languages: Mapping[str, int]) -> int | None:
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    if not isinstance(language, str):
        return None
    code = TO_LANGUAGE_CODE.get(language.lower(), language.lower())
    return languages.get(code, languages.get(f"<|{code}|>"))


def check_prompt(model: Any, tokenizer: Any, **changes: Any) -> None:
    """Refuses a Whisper whose tokenizer begins texts otherwise than the model begins to write.

    Args:
        model: The model; one that is no Whisper has no prompt, and passes.
        tokenizer: What makes labels of texts.
        **changes: Settings of its `generate`.

    Raises:
        ValueError: showing both beginnings, or asking for the language.
    """
    if not (hasattr(model.generation_config, "no_timestamps_token_id") and hasattr(tokenizer, "prefix_tokens")):
        return
    written, made = prompt_of(model.generation_config, **changes), list(tokenizer.prefix_tokens)
    if written != made:
        generated = "as each recording's language wants" if written is None else _shown(tokenizer, written)
        raise ValueError(
            f"the teacher begins to write {generated} and the labels of its tokenizer begin {_shown(tokenizer, made)}: "
            "name language and task for both with set_speech_task(teacher, processor, language='en')."
        )


def begins_as_labels(settings: Any, labels: Sequence[int]) -> bool:
    """Whether labels begin with what a model writes first; of one that has no prompt, or finds it out, they do."""
    prompt = prompt_of(settings) if hasattr(settings, "no_timestamps_token_id") else None
    return prompt is None or list(labels[: len(prompt) - 1]) == prompt[1:]


def _shown(tokenizer: Any, ids: Sequence[int]) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(list(ids)))


def text_labels(tokenizer: Any, text: str) -> list[int]:
    """The labels of a text: its tokens without the start token, which the decoder reads before all labels."""
    ids = list(tokenizer(text).input_ids)
    starts = bool(ids) and ids[0] == tokenizer.get_vocab().get(START)
    return ids[1:] if starts else ids
