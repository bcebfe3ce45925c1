"""What `--help` and `--help_all` print: the options that most runs need, or all, each in as few lines as it takes."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

USAGE = "%(prog)s [settings.yaml] [--option value ...], where --help lists the usual options, --help_all all"

#: Of the options in named groups those that most runs need; what stands in no group is a script's own, and few.
USUAL = {
    *("demo", "dataset_name", "train_file", "test_file", "text_column", "label_column", "source_lang", "target_lang"),
    *("teacher_name_or_path", "train_teacher", "student_name_or_path", "student_num_hidden_layers", "baseline"),
    *("student_num_decoder_layers", "student_hidden_size", "methods", "unlabeled_file", "label_fraction"),
    *(
        "size",
        "search_trials",
        "max_parameters",
        "export",
        "output_dir",
        "per_device_train_batch_size",
        "num_train_epochs",
    ),
    *("learning_rate", "temperature", "alpha", "terms", "resume_from_checkpoint", "push_to_hub"),
    *("folds", "output", "rows"),
    "template",
}
#: Of these a command has no use: it trains on labels alone.
UNUSED = {"hfdistill review": {"temperature", "alpha", "terms", "stages", "push_to_hub"}}
#: What these do here, where the texts of `transformers` speak of every script that there may be.
HERE = {
    "output_dir": "Folder of the student, its card and its report.",
    "push_to_hub": "Push the finished student to the Hub.",
    "resume_from_checkpoint": "true goes on where the run in output_dir stopped.",
}
#: More values than these are not listed.
LISTED = 6


class Formatter(argparse.HelpFormatter):
    """One spelling of each option, and a default where it says something."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{action.option_strings[0]} {self._value(action)}".rstrip()

    def _value(self, action: argparse.Action) -> str:
        if action.nargs == "?":  # a switch; those that are on are switched off by a value
            return "BOOL" if action.default else ""
        listed = action.choices is not None and len(list(action.choices)) <= LISTED
        value = "{" + ",".join(map(str, action.choices or ())) + "}" if listed else action.dest.split("_")[-1].upper()
        return f"{value} ..." if action.nargs == "+" else value

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        if action.nargs == 0 or default in (None, False, "", argparse.SUPPRESS) or default == [] or "efault" in text:
            return text
        words = default if isinstance(default, (list, tuple)) else [default]
        shown = " ".join(str(getattr(word, "value", word)) for word in words)
        return f"{text} (default: {shown.replace('%', '%%')})"


def add_help(parser: argparse.ArgumentParser) -> None:
    """Gives the parser both options."""
    parser.add_argument("-h", "--help", action=_Help, help="show the usual options and exit")
    parser.add_argument("--help_all", "--help-all", action=_Help, help="show all options and exit")


class _Help(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        everything = "--help_all" in self.option_strings
        sys.stdout.write(parser.format_help() if everything else usual_help(parser))
        parser.exit()


def usual_help(parser: argparse.ArgumentParser) -> str:
    """The help text with those options alone that most runs need."""
    formatter = parser._get_formatter()
    formatter.add_usage(parser.usage, [], [])
    formatter.add_text(parser.description)
    own, *groups = [group for group in parser._action_groups if group is not parser._positionals]
    chosen = {own: own._group_actions}
    usual = USUAL - UNUSED.get(parser.prog, set())
    chosen |= {group: [one for one in group._group_actions if one.dest in usual] for group in groups}
    for group, actions in chosen.items():
        if actions:
            formatter.start_section(group.title)
            formatter.add_arguments([one for one in actions if not is_opposite(one)])
            formatter.end_section()
    return formatter.format_help()


def is_opposite(action: argparse.Action) -> bool:
    """Whether it is `--no_x`, that `HfArgumentParser` adds to a switch `--x` which is on."""
    return isinstance(action, argparse._StoreFalseAction)


def help_of(name: str, classes: Sequence[Any]) -> str:
    """The help text of a field, that of a base class where a subclass gave it another default and no text."""
    bases = [base for one in classes for base in one.__mro__ if "__dataclass_fields__" in vars(base)]
    found = [(base, field.metadata.get("help")) for base in bases for field in fields(base) if field.name == name]
    own = [text for base, text in found if base.__module__.startswith("hfdistill.commands.") and name in _own(base)]
    return next(filter(None, [*own, HERE.get(name), *(text for _, text in found)]), "")


def _own(base: type) -> set[str]:
    """The fields that a class defines itself."""
    return set(inspect.get_annotations(base))
