"""Distillation for Hugging Face models: a fine-tuned teacher goes in, a small fast student comes out."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

#: The module of the commands that train nothing.
_TOOLS = "compare_export_card"
#: By name: the module, its function, and what it does. A module is imported when its command is run.
COMMANDS = {
    "distill": ("distill", "main", "Distill a text classifier: teacher, student, baseline, report, card, exports."),
    "search": ("distill", "search_main", "The same, after a search for the student and settings that do best."),
    "translate": (
        "translate",
        "main",
        "Distill a translation model, likewise.",
    ),
    "compare": (_TOOLS, "compare_main", "Measure teacher and student on the same texts, and print the table."),
    "export": (_TOOLS, "export_main", "Write a model for ONNX Runtime and transformers.js, and check it."),
    "soft-targets": (_TOOLS, "soft_targets_main", "Run a teacher on texts once, and keep its predictions."),
    "card": (_TOOLS, "card_main", "Compare a student with its teacher, and write the student's model card."),
}


def main(words: Sequence[str] | None = None) -> None:
    """Runs one command. It ends with exit code 2 for wrong usage, and 1 with a line that says what to mend."""
    words = sys.argv[1:] if words is None else list(words)
    parser = argparse.ArgumentParser(prog="hfdistill", description=__doc__, allow_abbrev=False)
    parser.epilog = "hfdistill COMMAND --help lists the options of a command."
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    for name, (_, _, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    module, function, _ = COMMANDS[parser.parse_args(words[:1]).command]
    getattr(importlib.import_module(f"hfdistill.commands.{module}"), function)(words[1:])
