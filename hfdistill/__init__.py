"""Distillation for Hugging Face transformers: a fine-tuned model goes in, a small fast student comes out.

The public names are those of `__init__.pyi`. Each is imported when it is first used, so that `import hfdistill` and
`hfdistill --help` cost nothing of what they do not use.
"""

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__version__ = "0.1.0"


def _modules() -> dict[str, str]:
    """The module of each public name, as the stub imports it."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {name.name: str(node.module) for node in imports for name in node.names}


_MODULES = _modules()
__all__ = sorted(_MODULES)  # noqa: PLE0605 (there is one list, that of the stub)


class _Package(ModuleType):
    """This package: its public names come from their modules, also `soft_targets`, which is a room's name as well."""

    def __getattr__(self, name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_MODULES[name]), name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds a room to its name here once it is imported.
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
