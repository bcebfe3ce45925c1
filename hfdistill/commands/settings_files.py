"""A YAML or JSON file of options as words of a command line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hfdistill.data.shortening import shortened

ENDINGS = (".yaml", ".yml", ".json")
_NO_OPTIONS = "it holds no options; write one `name: value` a line."


def with_settings(words: Sequence[str]) -> list[str]:
    """The words, those of the file first where the first word is one: what comes later overrides it.

    Raises:
        OSError: If there is no such file.
        ValueError: If it cannot be read, saying why.
    """
    return [*_words(Path(words[0])), *words[1:]] if words and words[0].endswith(ENDINGS) else list(words)


def _words(path: Path) -> list[str]:
    """A file of options as the words of a command line."""
    try:
        settings = (_json_settings if path.suffix == ".json" else _yaml_settings)(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError(f"{path} cannot be read: it is nested too deeply.") from None
    except OSError:
        raise
    except Exception as error:  # of a `!!timestamp` that is none PyYAML says AttributeError, and so on
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    words: list[str] = []
    for name, value in settings:
        if isinstance(value, list):
            words += [f"--{name}", *(_item(path, name, item) for item in value)]
        elif value is not None:
            words.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return words


def _item(path: Path, name: str, item: object) -> str:
    """An entry of a list as a word that is no option."""
    if item is None or isinstance(item, (list, dict)) or str(item).startswith("--"):
        raise ValueError(f"{path}: {name} lists {shortened(item)}; write a text or a number.")
    return str(item)


def _json_settings(text: str) -> list[tuple[str, Any]]:
    # As pairs, or of two values of one option the first would be lost without a word.
    settings = json.loads(text, object_pairs_hook=_named_once)
    if not isinstance(settings, dict):
        raise ValueError(_NO_OPTIONS)
    return list(settings.items())


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"{shortened(repeated[0])} is there twice.")
    return dict(pairs)


class _Loader(yaml.SafeLoader):
    """YAML without aliases, a few of which can stand for more text than fits into memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias (*name): write what it stands for.")
        return super().compose_node(parent, index)


def _yaml_settings(text: str) -> list[tuple[str, Any]]:
    """The options as they are written: YAML would make `no` of Norwegian false, and a date of a name."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ValueError(_NO_OPTIONS)
        written = [(str(_written(loader, name)), _written(loader, value)) for name, value in root.value]
    finally:
        loader.dispose()
    return list(_named_once(written).items())


def _written(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):  # of arguments for somebody else, who wants them typed
        value = loader.construct_document(node)
        json.dumps(value)  # refuses dates
        return value
    if isinstance(node, yaml.SequenceNode):
        return [_written(loader, item) for item in node.value]
    return None if node.tag == "tag:yaml.org,2002:null" else node.value
