"""PEFT adapters: known by their folder or name, loaded with the model that they are for, merged into it."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import httpx
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import cached_file, logging

from hfdistill.models.extras import install_hint
from hfdistill.models.hub import HubRefusalError, HubUnreachableError, hub_errors
from hfdistill.models.wrappers import is_quantized, unwrapped

logger = logging.get_logger(__name__)

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
#: The head that an adapter of each task was trained with, and what loads it.
_HEADS: dict[str, tuple[str, Any]] = {
    "SEQ_CLS": ("SequenceClassification", AutoModelForSequenceClassification),
    "TOKEN_CLS": ("TokenClassification", AutoModelForTokenClassification),
    "QUESTION_ANS": ("QuestionAnswering", None),
}
#: What a config calls the number of outputs of the head that is loaded, for adapters that name no task.
_OUTPUTS: dict[Any, str] = {
    AutoModelForSequenceClassification: "num_labels",
    AutoModelForTokenClassification: "num_labels",
    AutoModelForImageClassification: "num_labels",
    AutoModelForAudioClassification: "num_labels",
    AutoModelForCTC: "vocab_size",
}
#: Weights that a model runs without: of training alone.
_OF_TRAINING = ("masked_spec_embed",)
#: A number of labels that no model has, by which the outputs of a head are known among its parameters.
_NO_NUMBER = 7919


@dataclass(frozen=True)
class Adapter:
    """What an adapter's config says of it.

    Args:
        name: Its folder, or its name on the Hub.
        base: The model that it is for.
        kind: Such as `LORA`.
        task: What it was trained for, such as `SEQ_CLS`; `None` where it does not say.
    """

    name: str
    base: str
    kind: str
    task: str | None

    @classmethod
    def of(cls, name: str | os.PathLike[str]) -> Adapter | None:
        """The adapter of this name; `None` where there is another model, or nothing.

        Raises:
            ValueError: when its config is damaged, or names no model that it is for.
        """
        path = _file_of(os.fspath(name), CONFIG_FILE)
        if path is None:
            return None
        try:
            config = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}): save the adapter again.") from None
        base = config.get("base_model_name_or_path")
        if not base:
            raise ValueError(
                f"{name} is an adapter that names no model it is for: write one into base_model_name_or_path of its "
                f"{CONFIG_FILE}."
            )
        return cls(os.fspath(name), base, config.get("peft_type") or "PEFT", config.get("task_type"))

    @property
    def head(self) -> str | None:
        """The kind of head that it was trained with, as in `BertForSequenceClassification`; `None` of other tasks."""
        return _HEADS[self.task][0] if self.task in _HEADS else None


def load_model(auto_class: Any, name: str | os.PathLike[str], trust_remote_code: bool = False, **settings: Any) -> Any:
    """`auto_class.from_pretrained`, of an adapter's name too: the model it is for, with the adapter merged into it.

    Whatever is loaded by a name goes through here: `from_pretrained` itself puts an adapter on a model of another kind
    or another head without a word, and what the two lack is random.

    An adapter that cannot be merged, such as a tuned prompt, or one on quantized weights, stays around its model.

    Args:
        auto_class: Such as `AutoModelForSequenceClassification`.
        name: A folder, or a name on the Hub.
        trust_remote_code: Whether code that is kept there is run.
        **settings: As for `from_pretrained`; with `ignore_mismatched_sizes` it may get a new head, to be trained.

    Raises:
        HubUnreachableError, OSError: when it, or the model that it is for, cannot be had.
        ValueError: when what is there is another kind of model, an adapter of another one, or one that with its model
            makes no whole.
        ImportError: when it is an adapter and PEFT is not installed.
    """
    adapter = Adapter.of(name)
    if adapter is None:
        with hub_errors(os.fspath(name)):
            return auto_class.from_pretrained(name, trust_remote_code=trust_remote_code, **settings)
    peft, trained = _peft(adapter), bool(settings.get("ignore_mismatched_sizes"))
    with hub_errors(adapter.name):
        weights: Mapping[str, Any] = peft.load_peft_weights(adapter.name, device="cpu")
    outputs = {} if trained else _outputs(auto_class, adapter, weights, trust_remote_code)
    own = {} if settings.keys() & {"num_labels", "id2label"} else outputs
    given = {"ignore_mismatched_sizes": bool(outputs), **own, **settings}
    with _of_base(adapter), hub_errors(adapter.base):
        base, loaded = auto_class.from_pretrained(
            adapter.base, trust_remote_code=trust_remote_code, output_loading_info=True, **given
        )
    if not trained and auto_class is not AutoModel:  # whose pooler, where it has none, nobody asks
        random = [*loaded["missing_keys"], *(one[0] for one in loaded["mismatched_keys"])]
        _check_whole(adapter, [one for one in random if not one.endswith(_OF_TRAINING)], weights)
    embeddings = {f"base_model.model.{one}" for one in base.state_dict()}  # which are saved where they were resized
    try:
        with hub_errors(adapter.name):
            model = peft.PeftModel.from_pretrained(base, adapter.name, ignore_mismatched_sizes=trained)
    except (RuntimeError, ValueError) as error:  # of another width, without the modules that it adapts
        raise ValueError(f"{_misfit(adapter, base)} ({' '.join(str(error).split())})") from None
    adapted = peft.get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    other = adapted - weights.keys() or (weights.keys() - adapted - embeddings if not trained else None)
    if other:
        raise ValueError(f"{_misfit(adapter, base)} (only one of them has {min(other)})")
    if not can_merge(model):
        return model.eval()
    model = model.merge_and_unload().requires_grad_(True).eval()
    model.config.name_or_path = model.name_or_path = adapter.name
    return model


def load_config(name: str | os.PathLike[str], trust_remote_code: bool = False) -> PreTrainedConfig:
    """`AutoConfig.from_pretrained`; of an adapter's name, its model's with the adapter's head and labels.

    Raises:
        HubUnreachableError, OSError: when it cannot be had.
        ValueError: when there is no such config, or an adapter of a classifier comes without a head.
    """
    adapter, remote = Adapter.of(name), {"trust_remote_code": trust_remote_code}
    if adapter is None or _file_of(adapter.name, "config.json"):
        with hub_errors(os.fspath(name)):
            return AutoConfig.from_pretrained(name, **remote)
    with _of_base(adapter), hub_errors(adapter.base):
        config: Any = AutoConfig.from_pretrained(adapter.base, **remote)
    if adapter.head is None:
        return config
    auto_class, labels = _HEADS[adapter.task or ""][1], config.num_labels
    if auto_class is not None:
        with hub_errors(adapter.name):
            weights = _peft(adapter).load_peft_weights(adapter.name, device="cpu")
        labels = _number_of_outputs(auto_class, config, "num_labels", weights, trust_remote_code)
    if labels is not None and labels != config.num_labels:
        config.num_labels = labels
    if labels is None and not any(adapter.head in one for one in config.architectures or ()):
        raise ValueError(
            f"{name} is an adapter for {adapter.task}, and neither it nor {adapter.base}, which it is for, has a head: "
            "save the adapter with its head (modules_to_save)."
        )
    config.architectures = [f"PeftModelFor{adapter.head}"]
    return config


def auto_tokenizer(name: str | os.PathLike[str], trust_remote_code: bool = False, **settings: Any) -> Any:
    """`AutoTokenizer.from_pretrained`; of an adapter that brings none, that of the model it is for.

    Raises:
        HubUnreachableError, OSError, ValueError: when it cannot be had.
    """
    return load_processor(AutoTokenizer, name, trust_remote_code, **settings)


def load_processor(
    auto_class: Any, name: str | os.PathLike[str], trust_remote_code: bool = False, **settings: Any
) -> Any:
    """`from_pretrained` of a tokenizer, image processor, feature extractor or processor; as `auto_tokenizer`.

    Raises:
        HubUnreachableError, OSError, ValueError: when it cannot be had.
    """
    adapter, source = Adapter.of(name), os.fspath(name)
    files = ("tokenizer_config.json",) if auto_class is AutoTokenizer else _PROCESSOR_FILES
    if adapter is None or any(_file_of(source, file) for file in files):
        with hub_errors(source):
            return auto_class.from_pretrained(name, trust_remote_code=trust_remote_code, **settings)
    with _of_base(adapter), hub_errors(adapter.base):
        return auto_class.from_pretrained(adapter.base, trust_remote_code=trust_remote_code, **settings)


def can_merge(model: Any) -> bool:
    """Whether the adapters around a model become part of its weights: not a tuned prompt, nor on integers."""
    inner = unwrapped(model)
    tuner = getattr(inner, "base_model", None) if hasattr(inner, "peft_config") else None
    return hasattr(tuner, "merge_and_unload") and not is_quantized(inner)


def merged_copy(model: Any) -> PreTrainedModel:
    """A model with its adapters merged, in CPU memory: the given one is trained on with adapters and base as they are.

    Raises:
        ValueError, NotImplementedError: when adapters of this kind cannot be merged.
    """
    inner = unwrapped(model)
    tensors = [*inner.parameters(), *inner.buffers()]
    memo: dict[int, Any] = {id(one): _on_cpu(one) for one in tensors}  # so that ties stay ties
    merged: PreTrainedModel = copy.deepcopy(inner, memo).merge_and_unload()
    return merged.requires_grad_(True)


def remove_adapter_files(folder: str | os.PathLike[str]) -> None:
    """Removes an adapter from a folder that holds a whole model now, which would be loaded as one."""
    for name in (CONFIG_FILE, *WEIGHTS_FILES):
        (Path(folder) / name).unlink(missing_ok=True)


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    copied = tensor.detach().to("cpu", copy=True)
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def _peft(adapter: Adapter) -> Any:
    try:
        import peft
    except ImportError:
        raise ImportError(
            f"{adapter.name} is an adapter ({adapter.kind}), which takes PEFT to load: {install_hint('peft')}."
        ) from None
    return peft


@contextmanager
def _of_base(adapter: Adapter) -> Iterator[None]:
    """Says of errors with the model that an adapter is for who wanted it."""
    try:
        yield
    except (OSError, ValueError) as error:
        kinds = (HubUnreachableError, HubRefusalError, FileNotFoundError, OSError, ValueError)
        kind: Any = next(one for one in kinds if isinstance(error, one))
        raise kind(
            f"{adapter.name} is an adapter for {adapter.base!r}, which cannot be had: {error} (Where that is kept goes "
            f"into base_model_name_or_path of the adapter's {CONFIG_FILE}.)"
        ) from None


def _outputs(auto_class: Any, adapter: Adapter, weights: Mapping[str, Any], trust_remote_code: bool) -> dict[str, Any]:
    """The arguments that give a base the outputs of the head that its adapter brings; none, where it brings none."""
    if adapter.head is None and auto_class not in _OUTPUTS:
        return {}
    config, field = load_config(adapter.name, trust_remote_code), _OUTPUTS.get(auto_class, "num_labels")
    number = _number_of_outputs(auto_class, config, field, weights, trust_remote_code)
    if number is None:
        return {}
    if field != "num_labels" or number != config.num_labels:
        return {field: number}
    return {"id2label": config.id2label, "label2id": config.label2id, "problem_type": config.problem_type}


def _number_of_outputs(
    auto_class: Any, config: PreTrainedConfig, field: str, weights: Mapping[str, Any], trust_remote_code: bool
) -> int | None:
    """How many outputs the head has that an adapter brings; `None` where it brings none.

    An adapter's config does not tell, so that its weights are looked at: at those that have one row for each output.
    """
    unlike = copy.deepcopy(config)
    setattr(unlike, field, _NO_NUMBER)
    with torch.device("meta"):
        model = auto_class.from_config(unlike, trust_remote_code=trust_remote_code)
    outputs = [name for name, one in model.named_parameters() if one.shape[0] == _NO_NUMBER]
    found = [one for key, one in weights.items() if any(key.endswith(f".{name}") for name in outputs)]
    return int(found[0].shape[0]) if found else None


def _check_whole(adapter: Adapter, random: Sequence[str], weights: Mapping[str, Any]) -> None:
    """Refuses a model with weights that neither it has nor its adapter brings."""
    lacking = [name for name in random if not any(key.endswith(f".{name}") for key in weights)]
    if lacking:
        raise ValueError(
            f"neither the adapter {adapter.name} nor {adapter.base}, which it is for, has {lacking[0]}"
            f"{f' (and {len(lacking) - 1} more)' if lacking[1:] else ''}, which would be random here: it is an adapter "
            "of another kind of model, or must be saved with its head (modules_to_save)."
        )


def _misfit(adapter: Adapter, base: Any) -> str:
    task = f" trained for {adapter.task}" if adapter.task else ""
    return f"the adapter {adapter.name}{task} does not fit {adapter.base} as a {type(base).__name__}"


def _file_of(name: str, file: str) -> str | None:
    """A file of a folder or a repository; `None` where it has none, or the Hub is out of reach."""
    if Path(name).is_dir():
        return str(Path(name) / file) if (Path(name) / file).is_file() else None
    quietly = ("gated_repo", "missing_entries", "connection_errors")
    try:
        return cached_file(name, file, **{f"_raise_exceptions_for_{what}": False for what in quietly})
    except (OSError, ValueError, httpx.HTTPError):  # no name, or no answer: told by whoever loads it
        return None
