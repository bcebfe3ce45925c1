"""Names of models and datasets as a card shows them: those on the Hub, and no path of this machine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hfdistill.report.local_paths import without_places
from hfdistill.report.markdown import code, one_line


def listed(given: str | Sequence[str] | None) -> list[str]:
    """One or several, each in one line, without the empty."""
    return [line for one in ([given] if isinstance(given, str) else given or ()) if (line := one_line(one))]


def quoted(names: str | Sequence[str]) -> str:
    return ", ".join(code(shown(name)) for name in listed(names))


def may_be_on_hub(name: str) -> bool:
    """Whether this may be a repository's name: a local folder's path is not for the world to read."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not os.path.exists(name)


def is_hub_name(name: str) -> bool:
    """Likewise for what may be a word as well: without its owner a name is not taken for a repository's."""
    return "/" in name and may_be_on_hub(name)


def shown(name: str) -> str:
    return name if is_hub_name(name) else Path(name).name


def shown_command(words: Sequence[str]) -> str:
    """The command as the world may read it: without tokens, account and where files are kept."""
    shown: list[str] = []
    name = ""
    for word in words:
        is_option = word.startswith("--")
        option, equals, value = word.partition("=") if is_option else ("", "", word)
        name = option or name
        if name.endswith(("hub_model_id", "hub-model-id")):
            value = value.rpartition("/")[2]
        if not name.endswith("token"):
            shown.append(option + equals + without_places(value))
    return shlex.join(shown)
