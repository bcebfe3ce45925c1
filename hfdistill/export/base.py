"""An export format: what it writes, how that is loaded, and how it is checked against the model it was made of.

A format is a file in this folder: a subclass of `ClassifierFormat` or `TranslatorFormat`, and `register` of each of its
instances. The commands, the card and the comparison take whatever formats of their task there are.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
import pkgutil
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from accelerate.utils import extract_model_from_parallel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import hfdistill.export
from hfdistill.models.extras import install_hint
from hfdistill.models.mixed_precision import without_autocast
from hfdistill.models.wrappers import config_of
from hfdistill.report.failures import Attempts

Made = TypeVar("Made")
#: By task, each format by its name; see `formats`, which loads them.
FORMATS: dict[str, dict[str, Format]] = {}


class ExportError(ValueError):
    """An export is broken.

    Args:
        message: Which, and how far off it is.
        exported: The exported models of the formats that are not, by name.
    """

    def __init__(self, message: str, exported: dict[str, Any]) -> None:
        super().__init__(message)
        self.exported = exported


class Source:
    """What is exported, and what several formats make of it alike."""

    def once(self, make: Callable[[Any], Made]) -> Made:
        """What a function makes of it, such as a traced graph; made when it is first asked for."""
        made: dict[Any, Any] = self.__dict__.setdefault("_made", {})
        if make not in made:
            made[make] = make(self)
        return cast(Made, made[make])


class Format(ABC):
    """A way to write a student for another engine.

    Args:
        name: Its name, by which it is chosen, and which is its model's role in a comparison.
        path: The file or folder that it writes within a student's folder.
    """

    #: The Hub's name of what the exported models do.
    task: ClassVar[str]
    #: Python packages that it needs, and the extra of `hfdistill` that brings them.
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = "export"

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path

    def missing_packages(self) -> list[str]:
        """Those of its packages that are not installed."""
        return [package for package in self.packages if importlib.util.find_spec(package) is None]

    def check_model(self, model_type: str) -> None:  # noqa: B027  (most formats take all)
        """Refuses a kind of model that it cannot write, before anything expensive is begun.

        Args:
            model_type: As in the config of the model, such as `marian`.

        Raises:
            ValueError: naming the kinds that it can.
        """

    @abstractmethod
    def prepare(
        self,
        model: PreTrainedModel,
        processing_class: PreTrainedTokenizerBase,
        examples: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """What is exported and what it is checked on; formats that inherit one `prepare` share what it returns."""

    @abstractmethod
    def export(self, source: Any, path: Path) -> None:
        """Writes the model of what `prepare` returned to a path that does not exist yet.

        Raises:
            ValueError: when this model cannot be exported.
        """

    def place(self, unchecked: Path, path: Path) -> None:
        """Moves what `export` wrote, which has been checked, to its place in the student's folder.

        Args:
            unchecked: Where it is.
            path: Where it belongs, see the arguments of the format.
        """
        _remove(path)
        os.replace(unchecked, path)

    @abstractmethod
    def load(self, path: Path, source: Any) -> Any:
        """The exported model.

        It is a `Classifier` or a `Translator` of `models.inference`, and has besides: `engine`, the name of what runs
        it; `megabytes`, the size of its weights on disk; `path`, where it lies, which changes once it is checked; and
        `parity`, which is set to what `check` returns.
        """

    @abstractmethod
    def check(self, exported: Any, source: Any) -> Any:
        """How close its predictions are to the model's; `str` of it is a sentence for the report."""

    @abstractmethod
    def fault(self, parity: Any) -> str:
        """Why an export of such a parity is of no use, in a sentence; empty where it is of use."""


def register(one: Format) -> None:
    """Adds a format to `FORMATS`."""
    FORMATS.setdefault(one.task, {})[one.name] = one


def formats(task: str = "text-classification") -> dict[str, Format]:
    """The formats of a task by name, those of every file in this folder."""
    for module in pkgutil.iter_modules(hfdistill.export.__path__, "hfdistill.export."):
        importlib.import_module(module.name)
    known = FORMATS.get(task, {}).items()
    return dict(sorted(known, key=lambda pair: type(pair[1]).__module__))  # whatever was imported first


def check_export(names: Sequence[str], task: str = "text-classification", model_type: str | None = None) -> None:
    """Refuses what cannot be exported, before anything expensive is begun.

    Args:
        names: The formats.
        task: What they are to do.
        model_type: The kind of model, as in its config, where it is known yet.

    Raises:
        ValueError: for an unknown format, or a kind of model that it cannot write.
        ImportError: when a package is missing, saying what to install.
    """
    known = formats(task)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no export format {unknown[0]!r}; the formats are {', '.join(known)}.")
    for one in (known[name] for name in names):
        if missing := one.missing_packages():
            raise ImportError(f"the export needs {', '.join(missing)}: {install_hint(one.extra)}.")
        if model_type is not None:
            one.check_model(model_type)


def export_student(
    model: PreTrainedModel,
    processing_class: PreTrainedTokenizerBase,
    examples: Any,
    folder: str | os.PathLike[str],
    *,
    formats: Sequence[str],
    task: str = "text-classification",
    **settings: Any,
) -> dict[str, Any]:
    """Writes a model in each of some formats, and compares its predictions with the model's.

    Args:
        model: The model; it is left as it is.
        processing_class: Its tokenizer.
        examples: What to check the exports on: rows for a classifier, texts for a translator; a few hundred will do.
        folder: The model's folder; `Format.path` is the place of each format in it.
        formats: Names of formats.
        task: What they are to do.
        **settings: As the formats' `prepare` takes them, such as `text_columns`.

    Returns:
        The exported model of each format; how close its predictions are is its `parity`.

    Raises:
        ExportError: when an export is broken: it leaves no file, and what was exported earlier stays. The other formats
            are there, and `exported` of the error.
        ImportError: when a package is missing, saying what to install.
        ValueError: for an unknown format, or a model that cannot be exported.
    """
    check_export(formats, task, getattr(config_of(model), "model_type", None))
    sources: dict[Any, Any] = {}  # by the function that prepares them: formats of one kind share a source
    exported: dict[str, Any] = {}
    faults = []
    for one in (FORMATS[task][name] for name in formats):
        kind = type(one).prepare
        if kind not in sources:
            sources[kind] = one.prepare(model, processing_class, examples, **settings)
        fault = _write(one, sources[kind], Path(folder) / one.path, exported)
        faults += [fault] if fault else []
    if faults:
        raise ExportError(" ".join(faults), exported)
    return exported


def plain_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model in float32 on the CPU, in eval mode, without what was wrapped around it.

    The model may be on another device, in another dtype, and must not keep what tracing puts around it; nor must a
    graph hold the mixed precision that a `Trainer` leaves around what it trained.
    """
    copied = extract_model_from_parallel(copy.deepcopy(model), keep_torch_compile=False)
    return without_autocast(copied).cpu().float().eval()


def attempt_export(attempt: Attempts, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """As `export_student`, at the end of a run: what fails is noted, and the formats that are not broken are there."""
    try:
        return export_student(*args, **kwargs)
    except Exception as error:  # the student is worth its report all the same
        attempt.failed("the export", error)
        return getattr(error, "exported", {})


def _write(one: Format, source: Any, path: Path, exported: dict[str, Any]) -> str:
    """Puts a checked export in its place; or returns why it is of no use, and leaves nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unchecked = path.with_name(f"{uuid.uuid4().hex}.unchecked")
    try:
        one.export(source, unchecked)
        loaded = one.load(unchecked, source)
        loaded.parity = one.check(loaded, source)
        fault = one.fault(loaded.parity)
        if not fault:
            one.place(unchecked, path)
            loaded.path = path
            exported[one.name] = loaded
        return fault
    finally:
        _remove(unchecked)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
