"""What the recipes share at a terminal: how their options are read, and how bad input is answered."""

from __future__ import annotations

import atexit
import hashlib
import os
import signal
import sys
import threading
from argparse import SUPPRESS
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from huggingface_hub.utils import httpx
from transformers import HfArgumentParser

from hfdistill.commands.early import unknown_option
from hfdistill.commands.help import USAGE, Formatter, add_help, help_of, is_opposite
from hfdistill.commands.options import check_demo, check_options
from hfdistill.commands.settings_files import with_settings
from hfdistill.data.shortening import cut, shortened
from hfdistill.models.hub import HubUnreachableError
from hfdistill.report.terminal import LEFT_BEHIND, plan_stages, quiet_libraries

_ENDING = (signal.SIGINT, signal.SIGTERM)


def parse_arguments(
    classes: Sequence[Any],
    description: str | None,
    defaults: Mapping[str, Any] | None = None,
    check: Callable[..., None] | None = None,
    demo: Mapping[str, Any] | None = None,
    words: Sequence[str] | None = None,
    program: str | None = None,
    implied: Callable[..., Mapping[str, Any]] | None = None,
) -> tuple[Any, ...]:
    """Reads the command line into dataclasses.

    The first word may be a YAML or JSON file of options. Its values are read as those on the command line are, which
    override them: `5e-5`, that YAML takes for a text, is a number, `yes` is true, and `no` a text where one is meant.

    Args:
        classes: The dataclasses, such as the recipe's own and its training arguments. What their options may be is
            checked by `check_options`.
        description: What `--help` begins with: the first paragraph of this text, such as `__doc__`.
        defaults: Values of fields that neither file nor command line gives, in place of the dataclass's own.
        check: Raises a `ValueError` where the instances do not go together.
        demo: More defaults, which hold with `--demo`; the texts and models that it generates are then not to be named.
        words: The command line; by default this program's.
        program: What `--help` calls it.
        implied: Of the instances more defaults, that what is given stands for.

    Returns:
        An instance of each class. An option that is unknown or cannot be read ends the program with one line.
    """
    # Without an abbreviation "--eval" would quietly stand for whichever option is alone in beginning so.
    about = (description or "").partition("\n\n")[0]
    parser = _Parser(classes, prog=program, description=about)
    words = sys.argv[1:] if words is None else list(words)
    parsed = parser.read(words, defaults or {}, None if demo or implied else check)
    more: Mapping[str, Any] = parser.run(implied, parsed) if implied else {}
    generated = bool(demo) and any(getattr(one, "demo", False) for one in parsed)
    if generated:
        more = {"output_dir": demo_folder(parsed), **(demo or {}), **more}
    own = {field.name for one in classes for field in fields(one)}
    given = {**(defaults or {}), **{name: value for name, value in more.items() if name in own}}
    return parser.read(words, given, check, generated) if demo or implied else parsed


def demo_folder(options: Iterable[Any]) -> str:
    """Where a demo's student goes by default, each demo's to a folder of its own, such as `demo-translate`."""
    script = Path(sys.argv[0])
    name = script.stem if script.suffix == ".py" and script.stem != "__main__" else next(iter(sys.argv[1:2]), "")
    online = next((one.online for one in options if getattr(one, "online", None)), "")
    return "-".join(filter(None, ["demo", name if name.isidentifier() else "", online]))


class _Parser(HfArgumentParser):
    """A parser that refuses in one line, whatever was typed."""

    def __init__(self, classes: Sequence[Any], **settings: Any) -> None:
        plain = {"add_help": False, "allow_abbrev": False, "formatter_class": Formatter, "usage": USAGE}
        super().__init__(classes, **plain, **settings)
        add_help(self)
        for action in self._actions:
            action.help = SUPPRESS if is_opposite(action) else help_of(action.dest, classes) or action.help

    def read(
        self,
        words: list[str],
        defaults: Mapping[str, Any],
        check: Callable[..., None] | None,
        generated: bool = False,
    ) -> tuple[Any, ...]:
        """The instances of the dataclasses; ends the program where a word or the whole is refused."""
        self.set_defaults(**defaults)
        parsed: list[Any] = []
        unknown: list[str] = []
        try:
            words = with_settings(words)
            for word in words:
                _check_text(word)
            *parsed, unknown = self.parse_args_into_dataclasses(
                words, return_remaining_strings=True, look_for_args_file=False
            )
            for one in parsed:
                check_options(one)
                if generated and hasattr(one, "demo"):
                    check_demo(one)
            if check is not None and not unknown:
                check(*parsed)
        except (OSError, ValueError) as error:
            self.refuse(error)
        except Exception as error:  # transformers says so of some values that are of the wrong kind
            if _raised_by(error) != "transformers":
                raise
            self.error(f"an option has a value of another kind than it should: {error}")
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            self.error(unknown_option(unknown[0], options))
        return tuple(parsed)

    def run(self, implied: Callable[..., Mapping[str, Any]], parsed: Sequence[Any]) -> Mapping[str, Any]:
        """The defaults that follow; ends the program where there can be none."""
        try:
            return implied(*parsed)
        except ValueError as error:
            self.refuse(error)

    def error(self, message: str) -> NoReturn:
        self._end(cut(" ".join(message.split()), 1000))

    def refuse(self, error: Exception) -> NoReturn:
        """Ends the program as `error` does; a list of what there is stays a list."""
        if _raised_by(error) == "hfdistill":
            self._end(_one_line(error))
        self.error(str(error))

    def _end(self, message: str) -> NoReturn:
        if said_already(message):
            sys.exit(2)
        super().error(message)


def said_already(message: str) -> bool:
    """Whether another process of this run on this machine has said so; the first that asks is the one to say it.

    `torchrun`, and `accelerate launch` with several processes, give them a folder in common for their errors.
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file:
        return False
    said = Path(file).parents[1] / f"said_{hashlib.sha256(message.encode()).hexdigest()[:16]}"
    try:
        said.touch(exist_ok=False)
    except OSError as error:
        return isinstance(error, FileExistsError)
    return False


def _one_line(error: Exception) -> str:
    """What this package says of an error: a line, or a list of what there is, whatever text of the user is in it."""
    return "\n".join(cut(line, 1000) for line in str(error).splitlines())


def run_command(main: Callable[[], object]) -> None:
    """Runs a recipe: what the user can mend, and an interruption, end it with one line that names the way on.

    Args:
        main: The recipe, whose run is continued by `--resume_from_checkpoint true`.
    """
    resume = "the same command with --resume_from_checkpoint true goes on where it stopped"
    quiet_libraries()
    with plain_errors(resume, "(--train_file reads files, and --demo needs no network.)"):
        main()


@contextmanager
def plain_errors(go_on: str = "run it again", offline: str = "") -> Iterator[None]:
    """Ends the program with one line, `error: ...`, where the user can mend what is wrong; a bug keeps its traceback.

    An `OSError` or an error of HTTP is about files or the network, and a `ValueError` or an `ImportError` that a recipe
    or this package raises is about what it was given, or what is to be installed. All else, such as a `ValueError` from
    deep within torch, passes as it is. Ctrl-C, and the SIGTERM by which launchers and clusters end a process, end it
    with a line too, on one process, and with 128 + the signal's number as exit code.

    Args:
        go_on: What the user does after an interruption.
        offline: What else there is to do where the Hub cannot be reached, such as an option that needs no network.
    """
    LEFT_BEHIND.clear()
    plan_stages(0)
    with _signals_raise() as arrived:
        try:
            yield
        except BaseException as error:
            for action in LEFT_BEHIND:
                action()
            # Where a signal has come, whatever else ends the program follows from it, such as a lost peer.
            if arrived or isinstance(error, KeyboardInterrupt):
                _end_interrupted((arrived or [signal.SIGINT])[0], go_on)
            mendable = isinstance(error, (ImportError, ValueError)) and _raised_by(error) in ("hfdistill", "__main__")
            if isinstance(error, Exception) and (mendable or isinstance(error, (OSError, httpx.HTTPError))):
                unreachable = isinstance(error, HubUnreachableError) and offline
                message = f"error: {_one_line(error)}" + f" {offline}" * bool(unreachable)
                sys.exit(1 if said_already(message) else message)
            raise
        else:
            atexit.register(_leave_group)


def _leave_group() -> None:
    """Ends the connection to the other processes in order; one that only breaks off may abort, and end the others, too.

    After an error it is left to the launcher: those that still wait for one another would wait here.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


@contextmanager
def _signals_raise() -> Iterator[list[int]]:
    """The signals that end a program raise `KeyboardInterrupt`; those that came, in their order."""
    arrived: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        arrived.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield arrived
        return
    before = {number: signal.signal(number, interrupt) for number in _ENDING}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_interrupted(number: int, go_on: str) -> NoReturn:
    # A launcher sends its workers a second signal at once.
    in_main_thread = threading.current_thread() is threading.main_thread()
    for one in _ENDING if in_main_thread else ():
        signal.signal(one, signal.SIG_IGN)
    if os.environ.get("RANK", "0") == "0":
        print(f"\ninterrupted: {go_on}.", file=sys.stderr, flush=True)  # noqa: T201 (below a progress bar)
    sys.exit(128 + number)


def _raised_by(error: BaseException) -> str:
    """The package whose code raised the error."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return "" if step is None else str(step.tb_frame.f_globals["__name__"]).partition(".")[0]


def _check_text(word: str) -> None:
    """Refuses what could neither be printed nor written into a file, or names no file.

    Raises:
        ValueError: naming the option.
    """
    if "\0" in word or any("\ud800" <= character <= "\udfff" for character in word):
        raise ValueError(f"{shortened(word)} holds NUL, half an emoji or bytes that are not UTF-8: spell it otherwise.")
