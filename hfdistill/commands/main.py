"""Distillation for Hugging Face models: a fine-tuned teacher goes in, a small fast student comes out."""

from __future__ import annotations

import argparse
import importlib
import os
import socket
import sys
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

#: The module of the commands that compare models.
_TOOLS = "compare_card"
#: By name: the module, its function, and what it does. A module is imported when its command is run.
COMMANDS = {
    "distill": ("distill", "main", "Distill a text classifier: teacher, student, baseline, report, card, exports."),
    "search": ("distill", "search_main", "The same, after a search for the student and settings that do best."),
    "translate": (
        "translate",
        "main",
        "Distill a translation model, likewise.",
    ),
    "clean": ("clean", "main", "Drop the pairs of a parallel corpus that are no translations, and report on them."),
    "compare": (_TOOLS, "compare_main", "Measure teacher and student on the same texts, and print the table."),
    "export": (
        "export",
        "export_main",
        "Write a classifier or translator for ONNX Runtime, transformers.js or CTranslate2, and check it.",
    ),
    "soft-targets": (
        "soft_targets",
        "main",
        "Run a teacher on texts once, and keep its predictions; or take those that a file has.",
    ),
    "review": ("review", "main", "Find the labels that a person should check, and write them down to be corrected."),
    "card": (_TOOLS, "card_main", "Compare a student with its teacher, and write the student's model card."),
}


#: Seconds in which the Hub is to be found.
WAIT = 3.0
OFFLINE = "The Hugging Face Hub cannot be reached: models and datasets are taken from the local cache."


def go_offline_without_hub() -> None:
    """Says at once where there is no network; `huggingface_hub` would try for half a minute before each file.

    It is not looked for where the user has chosen (`HF_HUB_OFFLINE`), or a proxy stands between.
    """
    names = {name.lower() for name in os.environ}
    if names & {"hf_hub_offline", "https_proxy", "http_proxy", "all_proxy"} or is_reachable(hub_address()):
        return
    os.environ["HF_HUB_OFFLINE"] = "1"  # read where huggingface_hub is imported
    if os.environ.get("RANK", "0") == "0":
        print(OFFLINE, file=sys.stderr, flush=True)  # noqa: T201


def hub_address() -> tuple[str, int]:
    """Host and port of the Hub."""
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    return address.hostname or "", address.port or (80 if address.scheme == "http" else 443)


def is_reachable(address: tuple[str, int]) -> bool:
    """Whether a connection can be opened within `WAIT` seconds, the lookup of the name included."""
    found = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=WAIT).close()
            found.set()
        except OSError:
            pass
        finally:
            tried.set()

    tried = threading.Event()
    threading.Thread(target=connect, daemon=True).start()  # a lookup of a name knows no limit
    tried.wait(WAIT)
    return found.is_set()


def main(words: Sequence[str] | None = None) -> None:
    """Runs one command. It ends with exit code 2 for wrong usage, and 1 with a line that says what to mend."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # read where tqdm is imported, by whatever imports it
    words = sys.argv[1:] if words is None else list(words)
    parser = argparse.ArgumentParser(prog="hfdistill", description=__doc__, allow_abbrev=False)
    parser.epilog = "hfdistill COMMAND --help lists the options of a command."
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    for name, (_, _, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    command = parser.parse_args(words[:1]).command
    importlib.import_module("hfdistill.commands.early").refuse_early(command, words[1:])
    module, function, _ = COMMANDS[command]
    if not {"--demo", "--help", "--help_all", "--help-all", "-h"} & set(words):
        go_offline_without_hub()
    getattr(importlib.import_module(f"hfdistill.commands.{module}"), function)(words[1:])
