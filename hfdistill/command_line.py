"""What the recipes share at a terminal: how their options are read, and how bad input is answered."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState
from huggingface_hub.utils import httpx
from transformers import HfArgumentParser

SETTINGS_FILES = (".yaml", ".yml", ".json")
#: Texts times the parameters that read them, from which on processors need hours.
SLOW = 1e12


def parse_arguments(
    classes: Iterable[Any],
    description: str,
    defaults: Mapping[str, Any] | None = None,
    check: Callable[..., None] | None = None,
) -> tuple[Any, ...]:
    """Reads the command line into dataclasses.

    The first word may be a YAML or JSON file of options. Its values are read as those on the command line are, which
    override them: `5e-5`, that YAML takes for a text, is a number, and `yes` is true.

    Args:
        classes: The dataclasses, such as the recipe's own and its training arguments.
        description: What `--help` begins with.
        defaults: Values of fields that neither file nor command line gives, in place of the dataclass's own.
        check: Raises a `ValueError` where the instances do not go together.

    Returns:
        An instance of each class. An option that is unknown or cannot be read ends the program with one line.
    """
    # Without an abbreviation "--eval" would quietly stand for whichever option is alone in beginning so.
    usage = "%(prog)s [settings.yaml] [--option value ...], where --help lists the options"
    parser = HfArgumentParser(classes, description=description, usage=usage, allow_abbrev=False)
    parser.set_defaults(**(defaults or {}))
    words = sys.argv[1:]
    try:
        if words and words[0].endswith(SETTINGS_FILES):
            words = [*_words(Path(words[0])), *words[1:]]
        *parsed, unknown = parser.parse_args_into_dataclasses(
            words, return_remaining_strings=True, look_for_args_file=False
        )
        if check is not None and not unknown:
            check(*parsed)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if unknown:
        options = [option for action in parser._actions for option in action.option_strings]
        close = difflib.get_close_matches(unknown[0].partition("=")[0], options, n=1)
        parser.error(f"unknown option {unknown[0]}" + (f"; did you mean {close[0]}?" if close else "."))
    return tuple(parsed)


def check_least(options: Any, least: Mapping[str, int]) -> None:
    """Refuses numbers so small that a run would end in an error of somebody else, or take them for nothing.

    Args:
        options: The recipe's dataclass; what is `None` there is not given.
        least: By name of an option, the least it may be; a list's least counts.

    Raises:
        ValueError: naming option, bound and value.
    """
    for name, bound in least.items():
        value = getattr(options, name)
        smallest = min(value) if isinstance(value, list) else value
        if smallest is not None and smallest < bound:
            raise ValueError(f"--{name} must be at least {bound}, got {smallest}.")


def not_default(options: Any, names: Iterable[str]) -> list[str]:
    """Those of a recipe's options that are given another value than their default."""
    own = {option.name: option for option in fields(options)}
    makers = {name: option.default_factory for name, option in own.items() if option.default_factory is not MISSING}
    usual = {name: makers[name]() if name in makers else own[name].default for name in names}
    return [name for name, value in usual.items() if getattr(options, name) != value]


def check_demo(options: Any, names: Iterable[str]) -> None:
    """Refuses options of which a recipe's `--demo` has no use.

    Raises:
        ValueError: naming the first of them.
    """
    own = not_default(options, names)
    if options.demo and own:
        raise ValueError(f"--{own[0]} does nothing with --demo, which generates what it needs: leave one of them out.")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Ends the program with one line, `error: ...`, where the user can mend what is wrong; a bug keeps its traceback.

    An `OSError` or an error of HTTP is about files or the network, and a `ValueError` or an `ImportError` that a recipe
    or this package raises is about what it was given, or what is to be installed. All else, such as a `ValueError` from
    deep within torch, passes as it is.
    """
    try:
        yield
    except (ImportError, OSError, ValueError, httpx.HTTPError) as error:
        if isinstance(error, (OSError, httpx.HTTPError)) or _raised_by(error) in ("hfdistill", "__main__"):
            sys.exit(f"error: {error}")
        raise


def own_command(script: str) -> list[str]:
    """The words that run a recipe as it runs now: its options, and on one machine as many processes."""
    processes = PartialState().num_processes
    launcher = ["accelerate", "launch"] if processes == 1 else ["torchrun", "--nproc_per_node", str(processes)]
    return [*launcher, script, *sys.argv[1:]]


def say(text: str) -> None:
    """Prints a line at once, on one process."""
    PartialState().print(text, flush=True)


def say_if_slow(texts: int, parameters: int) -> None:
    """Says beforehand that a run will take hours, where no accelerator is there to do it in minutes.

    Args:
        texts: The training texts.
        parameters: The teacher's.
    """
    if PartialState().device.type == "cpu" and texts * parameters > SLOW:
        say("There is no accelerator, and on processors this takes hours; --demo shows all of it in minutes.")


def _raised_by(error: BaseException) -> str:
    """The package whose code raised the error."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return "" if step is None else str(step.tb_frame.f_globals["__name__"]).partition(".")[0]


def _words(path: Path) -> list[str]:
    """A file of options as the words of a command line."""
    text = path.read_text(encoding="utf-8")
    try:
        settings = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds no options; write one `name: value` a line.")
    words: list[str] = []
    for name, value in settings.items():
        if isinstance(value, list):
            words += [f"--{name}", *map(str, value)]
        elif value is not None:
            words.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return words
