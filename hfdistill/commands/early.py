"""What is wrong with a command line and can be told at once, before the seconds in which torch is imported.

The options of a run are the fields of dataclasses whose bases import torch: their names are read from the source.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from hfdistill.commands.help import USAGE
from hfdistill.commands.prompts import check_prompts
from hfdistill.commands.settings_files import with_settings
from hfdistill.commands.tool_options import PARSERS
from hfdistill.data.files import recognized, recognized_pairs, recognized_texts, recognized_texts_or_pairs
from hfdistill.data.shortening import cut

#: The dataclasses of a run's training arguments, by the module that each stands in.
TRAINING = {
    "transformers.training_args": "TrainingArguments",
    "hfdistill.training.arguments": "DistillationTrainingArguments",
    "hfdistill.tasks.arguments": "TaskDefaults",
}
SEQ2SEQ = {
    **TRAINING,
    "transformers.training_args_seq2seq": "Seq2SeqTrainingArguments",
    "hfdistill.training.arguments": "DistillationTrainingArguments Seq2SeqDistillationTrainingArguments",
}
#: And those of a command's own options, of which a module has several.
DISTILL = {**TRAINING, "hfdistill.commands.distill_options": "*"}
REVIEW = {**TRAINING, "hfdistill.commands.review": "*"}
#: The commands of which each option `--..._file` names a table.
SOURCES = {
    "distill": DISTILL,
    "search": DISTILL,
    "review": REVIEW,
    "translate": {**SEQ2SEQ, "hfdistill.commands.translate_options": "*"},
}
HELP = ("help", "help_all")


def refuse_early(command: str, words: Sequence[str]) -> None:
    """Ends the program as the command itself would, a few seconds later.

    Where a launcher has started several processes, it is left to them, who agree on which one speaks.
    """
    if os.environ.get("TORCHELASTIC_ERROR_FILE"):
        return
    if command in PARSERS:
        options = PARSERS[command]().parse_args(words)
        files = {"file": options.file if isinstance(options.file, list) else [options.file]}
        if getattr(options, "validation_file", None):
            files["validation_file"] = [options.validation_file]
    else:
        files = _files(command, words) if command in SOURCES else {}
    for name, given in files.items():
        try:
            _recognize(command, name, given)
        except (OSError, ValueError) as error:
            sys.exit(f"error: {error}")


def _recognize(command: str, name: str, files: Sequence[str]) -> None:
    """Refuses files that the command cannot read."""
    if command == "export":  # of a translator, perhaps
        recognized_texts_or_pairs(files)
    elif name == "unlabeled_file" and command in ("distill", "search", "translate"):
        recognized_texts(files[0])
    elif command not in ("translate", "clean"):
        for file in files[:1]:
            recognized(file)
    else:
        recognized_pairs(files)


def _files(command: str, words: Sequence[str]) -> dict[str, list[str]]:
    """The files of a run's options, once these are known to be options; by option those that are given to it."""
    try:
        words = with_settings(words)
    except (OSError, ValueError) as error:
        _refuse(command, f"{error}")
    names = option_names(command)
    for word in words:
        if word.startswith("--") and name_of(word) not in names:
            _refuse(command, unknown_option(word, [f"--{name}" for name in sorted(names)]))
    given: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = name_of(word), *word.partition("=")[1:]
            given[name] = [value] if value else []
        elif name:
            given[name].append(word)
    if command in ("distill", "search"):
        try:
            check_prompts({name: (values or ["true"])[0] for name, values in given.items() if not _is_off(values)})
        except ValueError as error:
            _refuse(command, f"{error}")
    return {name: files for name, files in given.items() if name.endswith("_file") and files}


def _is_off(values: Sequence[str]) -> bool:
    """Whether what is given to an option leaves it out."""
    return len(values) == 1 and values[0].lower() in ("false", "no", "0", "none", "null")


def unknown_option(word: str, options: Sequence[str]) -> str:
    """The sentence about a word that is none of the options."""
    close = difflib.get_close_matches(word.partition("=")[0], options, n=1)
    return f"unknown option {cut(word)}" + (f"; did you mean {close[0]}?" if close else ".")


def name_of(word: str) -> str:
    """The field that an option is of: `--train-file=a.csv` is of `train_file`."""
    return word.partition("=")[0].removeprefix("--").replace("-", "_") if word.startswith("--") else ""


def option_names(command: str) -> set[str]:
    """The names of all options of a command that trains."""
    fields = {name for module, classes in SOURCES[command].items() for name in _fields(module, classes)}
    return {*HELP, *fields, *(f"no_{name}" for name in fields)}


def _fields(module: str, classes: str) -> Iterator[str]:
    """The fields of some dataclasses of a module, or of all."""
    for node in ast.parse(_source(module).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        if node.name in classes.split() or (classes == "*" and any(map(_is_dataclass, node.decorator_list))):
            targets = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def _is_dataclass(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id == "dataclass"


def _source(module: str) -> Path:
    """The file of a module, which is not imported: only packages are looked for."""
    package, *path = module.split(".")
    spec = importlib.util.find_spec(package)
    folders = spec and spec.submodule_search_locations
    if not folders:
        sys.exit(f"error: {package} is not installed.")
    return Path(folders[0]).joinpath(*path).with_suffix(".py")


def _refuse(command: str, message: str) -> NoReturn:
    """As the command's parser refuses."""
    print(f"usage: {USAGE % {'prog': f'hfdistill {command}'}}", file=sys.stderr)  # noqa: T201
    print(f"hfdistill {command}: error: {cut(' '.join(message.split()), 1000)}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
