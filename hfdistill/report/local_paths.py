"""Where files are kept, and by whom, is not for the world to read: paths in what is saved and pushed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

#: A path that leads out of the working folder, within a text; no address on the web, but one of a file.
_PATH = re.compile(r"(?:(?<=[a-z]:)//|(?<![\w.:/\\~-]))(?:~[\w.-]*|[A-Za-z]:)?[\\/]+[^\s'\"<>|{}\[\](),;=:]+")
#: What codecarbon notes of the place, and of whose cloud.
PLACE_COLUMNS = {
    *("country_name", "country_iso_code", "region", "cloud_provider", "cloud_region", "longitude", "latitude"),
}


def without_places(value: Any) -> Any:
    """The value with the last part of each path in place of the path; what lies below the working folder stays.

    Args:
        value: A text, a path, or lists and dictionaries of such; anything else is returned as it is.
    """
    if isinstance(value, PurePath):
        return Path(without_places(str(value)))
    if isinstance(value, str):
        leads_out = value.startswith(("/", "~")) or ".." in Path(value).parts or PureWindowsPath(value).is_absolute()
        return _last_part(value) if leads_out else places_out_of(value)
    if isinstance(value, dict):
        return {without_places(name): without_places(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(map(without_places, value))
    return value


def places_out_of(text: str) -> str:
    """The text with the last part of each path in it that leads out of the working folder."""
    for folder in (Path.cwd(), Path.home()):  # there may be blanks in them
        text = text.replace(f"{folder}{os.sep}", "")
    return _PATH.sub(lambda found: _last_part(found[0]), text)


def clear_emissions(folder: str | os.PathLike[str]) -> None:
    """Empties the columns of `emissions.csv` on where it was measured; later runs can add to the file."""
    path = Path(folder) / "emissions.csv"
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    hidden = [index for index, name in enumerate(rows[0] if rows else []) if name in PLACE_COLUMNS]
    for row in rows[1:]:
        row[:] = ["" if index in hidden else value for index, value in enumerate(row)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    _replace(path, text.getvalue())


def clear_state(folder: str | os.PathLike[str]) -> None:
    """The best checkpoint in a checkpoint's `trainer_state.json` by its name, not by its path."""
    path = Path(folder) / "trainer_state.json"
    if path.is_file():
        state = json.loads(path.read_text(encoding="utf-8"))
        if best := state.get("best_model_checkpoint"):
            state["best_model_checkpoint"] = PureWindowsPath(best).name
            _replace(path, json.dumps(state, indent=2, sort_keys=True) + "\n")


def clear_names(folder: str | os.PathLike[str], names: Sequence[str]) -> None:
    """The last part of each name that is a path, in the adapter configs and the card of a saved model."""
    paths = {name: short for name in names if (short := without_places(name)) != name}
    for path in [*Path(folder).glob("README.md"), *Path(folder).rglob("adapter_config.json")] if paths else ():
        text = path.read_text(encoding="utf-8")
        for name, short in paths.items():
            text = text.replace(json.dumps(name), json.dumps(short)).replace(name, short)
        _replace(path, text)


def _last_part(path: str) -> str:
    # That of somebody's home is their name.
    return "~" if Path(path) == Path.home() else PureWindowsPath(path).name


def _replace(path: Path, text: str) -> None:
    """All of it or nothing: a run may be killed at any moment."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="")
    os.replace(part, path)
