"""A prompt: the places of the text and of the label in it, and the examples that it shows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from transformers import PreTrainedTokenizerBase

#: The places that a template may have.
TEXTS = ("text", "text_pair")
LABEL = "label"
#: What stands for a place until it is filled: of private use, so that no template and no tokenizer has it.
_OPEN, _CLOSE = "\ue000", "\ue001"
_PLACE = re.compile(f"{_OPEN}(\\w+){_CLOSE}")
_LABEL = f"{_OPEN}{LABEL}{_CLOSE}"

#: One text, or a pair.
Texts = Sequence[str]
#: A template: with places such as `{text}`, or the messages of a chat with such places.
Template = str | Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Prompt:
    """A template with its examples.

    Args:
        before: What stands before the label, with the places of the texts.
        after: What stands behind it.
        is_chat: Whether it was made by a chat template, which writes all special tokens itself.
    """

    before: str
    after: str
    is_chat: bool = False

    @classmethod
    def of(
        cls,
        template: Template,
        tokenizer: PreTrainedTokenizerBase,
        examples: Sequence[tuple[Texts, str]] = (),
    ) -> Prompt:
        """Reads a template.

        Args:
            template: As for `PromptTeacher`.
            tokenizer: Its chat template turns messages into one text.
            examples: Texts and the words of their labels, in the order in which they are shown.

        Raises:
            ValueError: for a template without a place for the text, or with places that nothing is known of.
        """
        if not isinstance(template, str):
            return cls._of_chat(template, tokenizer, examples)
        marked = _with_label(_marked(template))
        _check_places(marked)
        instruction, gap, shot = marked.rpartition("\n\n")
        if _PLACE.search(instruction):
            instruction, gap, shot = "", "", marked
        shown = "".join(f"{_filled(shot, texts, word)}\n\n" for texts, word in examples)
        before, after = f"{instruction}{gap}{shown}{shot}".split(_LABEL)
        return cls(before, after)

    @classmethod
    def _of_chat(
        cls, messages: Sequence[Mapping[str, str]], tokenizer: Any, examples: Sequence[tuple[Texts, str]]
    ) -> Prompt:
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError(
                "the template is a list of messages, and the tokenizer has no chat_template to write them with: give "
                "the template as one text with the place {text}."
            )
        turns = [{**message, "content": _marked(message["content"])} for message in messages]
        if not turns or turns[-1]["role"] != "assistant":
            turns.append({"role": "assistant", "content": _LABEL})
        turns[-1]["content"] = _with_label(turns[-1]["content"])
        _check_places("".join(turn["content"] for turn in turns))
        system = [turn for turn in turns if turn["role"] == "system"]
        shot = [turn for turn in turns if turn["role"] != "system"]
        shown = [{**turn, "content": _filled(turn["content"], *one)} for one in examples for turn in shot]
        written = tokenizer.apply_chat_template([*system, *shown, *shot], tokenize=False)
        before, after = written.split(_LABEL)
        return cls(before, after, is_chat=True)

    @property
    def places(self) -> tuple[str, ...]:
        """The texts that it has a place for."""
        found = _PLACE.findall(self.before + self.after)
        return tuple(name for name in TEXTS if name in found)

    @property
    def label_comes_last(self) -> bool:
        """Whether all texts stand before the label."""
        return not _PLACE.search(self.after)

    @property
    def is_between(self) -> bool:
        """Whether there are texts on both sides of the label."""
        return bool(_PLACE.search(self.before) and _PLACE.search(self.after))

    @property
    def gap(self) -> str:
        """The spaces before the label: tokenizers join them to the word."""
        return self.before[len(self.before.rstrip(" ")) :]

    def until_label(self, texts: Texts) -> str:
        """What a model reads before the label, without the gap."""
        return _filled(self.before.rstrip(" "), texts)

    def whole(self, texts: Texts, word: str) -> str:
        """The prompt with a word in the label's place."""
        return f"{_filled(self.before, texts)}{word}{_filled(self.after, texts)}"


def _marked(template: str) -> str:
    """The template with marks for its places."""
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"the template {template!r} has a brace too many ({error}): write braces twice.") from None
    unknown = [name for _, name, _, _ in pieces if name is not None and name not in (*TEXTS, LABEL)]
    if unknown:
        raise ValueError(
            f"the template has a place {{{unknown[0]}}}, and the places are {{text}}, {{text_pair}} and {{label}}: "
            "name the columns of the texts with text_columns=[...], and write braces that are no place twice."
        )
    return "".join(text + (f"{_OPEN}{name}{_CLOSE}" if name else "") for text, name, _, _ in pieces)


def _with_label(marked: str) -> str:
    """With a place for the label at the end, where there is none."""
    if _LABEL in marked:
        return marked
    return f"{marked}{'' if not marked or marked[-1].isspace() else ' '}{_LABEL}"


def _check_places(marked: str) -> None:
    found = _PLACE.findall(marked)
    if "text" not in found:
        raise ValueError("the template has no place for the text: write {text} where it is to stand.")
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice:
        raise ValueError(f"the template has the place {{{twice}}} twice: a prompt has one for each text and the label.")


def _filled(marked: str, texts: Texts, word: str = "") -> str:
    values = {**dict(zip(TEXTS, texts, strict=False)), LABEL: word}
    return _PLACE.sub(lambda place: values[place[1]], marked)
