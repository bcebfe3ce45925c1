"""A teacher that is a model, run in every step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import patch_environment, send_to_device
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase
from transformers.utils import logging

from hfdistill.models.adapters import auto_tokenizer, load_model
from hfdistill.models.causal_lm import takes_positions, with_positions
from hfdistill.models.dispatched import is_dispatched, is_fixed, placed
from hfdistill.models.heads import head_of
from hfdistill.models.inputs import (
    TokenReader,
    check_token_ids,
    main_input,
    max_positions,
    pad_rows,
    padded_by,
    token_inputs,
)
from hfdistill.models.intermediate_outputs import forward
from hfdistill.models.labels import LabelSpace
from hfdistill.models.mixed_precision import warn_if_emulated, without_autocast
from hfdistill.models.packed_texts import SEGMENT_IDS, as_packed
from hfdistill.models.sharding import sharded_copy
from hfdistill.models.vocabularies import has_vocabulary
from hfdistill.models.words import reader_of
from hfdistill.models.wrappers import (
    config_of,
    device_of,
    is_quantized,
    token_table_size,
    unwrapped,
    without_adapters,
)
from hfdistill.teachers.base import NO_CONTEXT, PREFIX, Teacher, TeacherContext, TeacherSignal

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.get_logger(__name__)


class ModelTeacher(Teacher):
    """A `transformers` model that is run in every step.

    The model is used as it is, not copied: moved to the training device, frozen, set to eval mode whenever it is run,
    cast where there is a `dtype`. Under FSDP2 a sharded copy of it is run.

    Args:
        model: The teacher; what compiles it or spreads it over devices is left out, adapters are kept.
        processing_class: Its tokenizer. Needed when it differs from the student's.
        text_columns: The columns of raw text, one or a pair, for a teacher with a tokenizer of its own. Without them
            the teacher reads the student's token ids, which must mean the same to both.
        dtype: The dtype to run in; `None` or `"auto"` keeps the model's own.

    Raises:
        TypeError: for a module without a `transformers` configuration.
        ValueError: for `text_columns` without a tokenizer, more than a pair of them, or a `dtype` for a model that is
            quantized or spread over devices.
    """

    #: What a name or path is loaded with.
    auto_class: Any = AutoModelForSequenceClassification
    #: What to do where its vocabulary is not the student's.
    other_vocabulary = (
        "give the teacher its own text: ModelTeacher.from_pretrained(name, text_columns=['sentence']), or make its "
        "soft targets first with soft_targets(teacher, dataset, text_columns=['sentence'])."
    )

    def __init__(
        self,
        model: nn.Module,
        processing_class: PreTrainedTokenizerBase | None = None,
        text_columns: Sequence[str] | None = None,
        dtype: str | None = None,
    ) -> None:
        if text_columns and processing_class is None:
            raise ValueError("a teacher that reads text_columns needs its tokenizer: pass processing_class.")
        if config_of(model) is None:
            raise TypeError(
                f"a teacher is a transformers model, whose config names its labels; got {type(model).__name__}."
            )
        if hasattr(model, "_orig_mod"):
            logger.warning("The teacher is run uncompiled: torch_compile=True compiles it and the student.")
        self.model = _unprepared(model).requires_grad_(False)
        self.cast(dtype)
        self.processing_class = processing_class
        self.text_columns = (text_columns,) if isinstance(text_columns, str) else tuple(text_columns or ())
        if len(self.text_columns) > 2:
            raise ValueError(f"text_columns takes one column of text, or a pair; got {', '.join(self.text_columns)}.")
        # Read once: Accelerate replaces `forward` by one without a signature.
        self.inputs = token_inputs(model)
        self.main_input = main_input(model)
        self.head = head_of(model)
        if self.text_columns:  # its tokenizer makes no more
            made = padded_by(processing_class)
            self.inputs = tuple(name for name in self.inputs if name in made)
        #: How many token ids it has embeddings for; `None` where it has no table of them.
        self.table_size = token_table_size(model)
        self._takes_positions = takes_positions(model)
        #: What its columns begin with; an ensemble gives each member another.
        self.prefix = PREFIX
        self.max_length = max_positions(model, processing_class)
        self._order: list[int] | None = None
        self._accelerator: Accelerator | None = None
        #: Under FSDP2 the copy that is run.
        self._sharded: Any = None
        #: Where a model that cannot be moved is; `None` for one that is where the batch is.
        self._device: torch.device | None = None
        self._warned = False

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.prefix + name for name in self.inputs) if self.text_columns else ()

    @property
    def shared_columns(self) -> tuple[str, ...]:
        return self.inputs if self.shares_tokens else ()

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns of a dataset that it reads."""
        return self.text_columns or (self.main_input,)

    @property
    def shares_tokens(self) -> bool:
        """Whether it reads the student's token ids."""
        return not self.text_columns

    @property
    def reads_words(self) -> bool:
        """Whether it reads a column of words and decides on each, whatever the student's tokens of them are."""
        return self.head.item == "token" and bool(self.text_columns)

    @property
    def name(self) -> str:
        return str(getattr(self.model.config, "name_or_path", ""))

    @property
    def problem_type(self) -> str | None:
        return self.head.problem_type or getattr(self.model.config, "problem_type", None)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], text_columns: Sequence[str] | None = None, dtype: str | None = None
    ) -> ModelTeacher:
        """Loads a model of `auto_class` (here a sequence classifier) and its tokenizer from the Hub or a folder.

        Raises:
            HubUnreachableError: when the Hub is needed and cannot be reached.
            OSError: when there is no such model.
            ValueError: when what is there is no such model, or comes with code of its own.
        """
        model = load_model(cls.auto_class, name_or_path, dtype=dtype or "auto")
        tokenizer = auto_tokenizer(name_or_path)
        return cls(model, tokenizer if has_vocabulary(tokenizer) else None, text_columns)

    def cast(self, dtype: str | None) -> None:
        """Casts the model to `dtype`; `None` and `"auto"` leave it as it is."""
        if dtype not in (None, "auto"):
            if dtype not in ("float32", "float16", "bfloat16"):
                raise ValueError(f"a teacher's dtype must be auto, float32, float16 or bfloat16, got {dtype!r}.")
            if is_quantized(self.model):
                raise ValueError(
                    f"the teacher is quantized and cannot be cast to {dtype}: leave its dtype out ('auto')."
                )
            if is_dispatched(self.model):
                raise ValueError(
                    f"the teacher's parts are on several devices (device_map) and cannot be cast to {dtype}: load it "
                    "in that dtype, from_pretrained(..., dtype=...), and leave its dtype out ('auto')."
                )
            warn_if_emulated(dtype, "the teacher's dtype")
            model: Any = self.model
            model.to(dtype=getattr(torch, dtype))

    def prepare(self, accelerator: Accelerator) -> None:
        """Moves the model to the accelerator's device and precision; done once for each accelerator."""
        if accelerator is self._accelerator:
            return
        model = _unprepared(self.model)
        movable = not is_fixed(model)
        sharded = accelerator.is_fsdp2 and movable
        # Explicitly to the device: under FSDP and DeepSpeed Accelerate leaves placement to the wrapper.
        model = sharded_copy(model, accelerator) if sharded else placed(model, accelerator.device)
        others = len(accelerator._models)
        # Nothing of it is trained, whatever Accelerate would say of several devices.
        with patch_environment(ACCELERATE_BYPASS_DEVICE_MAP="true"):
            model = accelerator.prepare_model(model, device_placement=None if movable else False, evaluation_mode=True)
        if sharded:
            self._sharded = model
        else:
            self.model = model
        self._device = None if movable else device_of(model)
        # Or accelerator.save_state would save it; not by its name, as what is kept there may be under torch.compile.
        del accelerator._models[others:]
        self._accelerator = accelerator

    def align(self, student_config: Any) -> None:
        if self.head.classifies:
            self._order = LabelSpace.of_config(student_config).order_in(LabelSpace.of_config(self.model.config))

    @property
    def reader(self) -> TokenReader:
        """What this teacher reads of a dataset row."""
        assert self.processing_class is not None
        return reader_of(self.head, self.processing_class, self.text_columns, self.inputs, self.max_length)

    def pad(self, features: Sequence[Mapping[str, Any]]) -> Mapping[str, Tensor]:
        assert self.processing_class is not None
        columns = [name for name in self.columns if name in features[0]]
        own = [{name.removeprefix(self.prefix): feature[name] for name in columns} for feature in features]
        padded = pad_rows(self.processing_class, own)
        check_token_ids(padded["input_ids"], self.table_size, "teacher")
        return {self.prefix + name: tensor for name, tensor in padded.items()}

    def __call__(
        self, batch: Mapping[str, Any], outputs: frozenset[str] = frozenset(), context: TeacherContext = NO_CONTEXT
    ) -> TeacherSignal:
        if context.accelerator is not None:
            self.prepare(context.accelerator)
        model = self.model if self._sharded is None else self._sharded
        read = self._placed(self._read(batch))
        with torch.no_grad():
            prediction = forward(model.eval(), self.head.inputs(read), outputs)
        signal = {name: getattr(prediction, name) for name in outputs}
        if self.head.gives_logits:
            scores = self.head.scores(prediction)
            if scores is None:
                raise without_logits(self.model)
            scores = scores if self._order is None else scores[..., self._order]
            signal["logits"] = self.head.logits(scores, {**batch, **read})
        if self._device is not None:
            home = next(tensor.device for tensor in batch.values() if isinstance(tensor, Tensor))
            signal = send_to_device(signal, home)
        return TeacherSignal(**signal)

    def _placed(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs if self._device is None else send_to_device(inputs, self._device)

    def _read(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What the model is called with."""
        prefix = self.prefix if self.text_columns else ""
        if not {prefix + self.main_input, prefix + "inputs_embeds"} & {*batch}:
            raise ValueError(
                f"the teacher reads {prefix}{self.main_input}, which the batch lacks; it has {', '.join(batch)}."
            )
        read = self.in_its_dtype({name: batch[prefix + name] for name in self.inputs if prefix + name in batch})
        read = self._cut(read)
        if SEGMENT_IDS in batch:
            return as_packed(self.model, read, batch[SEGMENT_IDS])
        return with_positions(read) if self._takes_positions else read

    def in_its_dtype(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Pictures and sound in the model's dtype; whole numbers as they are."""
        floating = [
            name for name, tensor in tensors.items() if isinstance(tensor, Tensor) and tensor.is_floating_point()
        ]
        if not floating:
            return dict(tensors)
        dtype = next(self.model.parameters()).dtype
        return {name: tensor.to(dtype) if name in floating else tensor for name, tensor in tensors.items()}

    def _cut(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Shared token ids may be longer than the teacher has positions for: it reads the beginning, as in a reader."""
        if "input_ids" not in inputs or inputs["input_ids"].shape[1] <= self.max_length:
            return inputs
        if self.head.by_token:
            raise ValueError(
                f"the teacher reads at most {self.max_length} tokens, and a text of this batch has "
                f"{inputs['input_ids'].shape[1]}, each of which it should decide on: tokenize with that max_length."
            )
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
        lengths = mask.sum(1, keepdim=True)
        if not self._warned:
            self._warn_of_cut(int((lengths > self.max_length).sum()))
        tokens_first = mask.argsort(dim=1, descending=True, stable=True)
        last = tokens_first.gather(1, (lengths - 1).clamp_min(self.max_length - 1))
        kept = torch.cat([tokens_first[:, : self.max_length - 1], last], dim=1)
        width = inputs["input_ids"].shape[1]
        return {
            name: _taken(tensor, kept) if _of_tokens(name, tensor, width) else tensor for name, tensor in inputs.items()
        }

    def _warn_of_cut(self, cut: int) -> None:
        if cut:
            self._warned = True
            logger.warning(
                "The teacher reads at most %d tokens: %d texts of this batch are cut for it, and likewise from now on. "
                "Tokenize with that max_length to show both the same text.",
                self.max_length,
                cut,
            )


def _of_tokens(name: str, tensor: Any, width: int) -> bool:
    # What a decoder reads may be as long by accident.
    return isinstance(tensor, Tensor) and not name.startswith("decoder_") and tensor.shape[1:2] == (width,)


def _taken(tensor: Tensor, kept: Tensor) -> Tensor:
    """Of each row the columns `kept`, shape `(batch, tokens)`, with all that a token has."""
    return tensor[torch.arange(len(tensor), device=tensor.device)[:, None], kept]


def one_teacher(teacher: Any, dtype: str | None = None) -> Teacher:
    """A `Teacher` from a `Teacher`, a model, or a name or path; it runs in `dtype`, `None` keeps its own.

    Raises:
        ValueError: for a list of none.
        TypeError: for anything else.
    """
    if isinstance(teacher, (list, tuple)) and not teacher:
        raise ValueError("the list of teachers is empty: name one or more.")
    if isinstance(teacher, Teacher):
        for member in teacher.members:
            if isinstance(member, ModelTeacher):
                member.cast(dtype)
        return teacher
    if isinstance(teacher, nn.Module) and config_of(teacher) is not None:
        return ModelTeacher(teacher, dtype=dtype)
    if isinstance(teacher, (str, os.PathLike)):
        return ModelTeacher.from_pretrained(teacher, dtype=dtype)
    raise TypeError(
        f"teacher must be a model, a name or path, a Teacher, a list of these or None, got {type(teacher).__name__}."
    )


def without_logits(model: Any) -> ValueError:
    """What to raise where a model gives no logits."""
    name = type(without_adapters(model)).__name__
    return ValueError(
        f"a {name} has no logits in its output, so nothing can be learned from it: load the teacher with the head that "
        "it was trained with, such as by AutoModelForSequenceClassification."
    )


def _unprepared(model: Any) -> Any:
    """The model without the autocast that an earlier accelerator has put around its `forward`."""
    plain = without_autocast(unwrapped(model))
    plain._is_accelerate_prepared = False
    return plain
