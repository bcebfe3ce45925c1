"""Students that train together, and what each of them learns from the others."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from hfdistill.models.families import layer_stack
from hfdistill.models.inputs import token_inputs
from hfdistill.models.labels import LabelSpace
from hfdistill.teachers import Combination, TeacherSignal


@dataclass
class OnlineOutput(ModelOutput):
    """The outputs of students that train together, for a batch.

    Args:
        logits: The first student's, shape `(batch, classes)`.
        peers: Every student's, the first one's among them.
        ensemble: The gated mean of them, where there is a gate.
    """

    logits: Tensor | None = None
    peers: tuple[Tensor, ...] | None = None
    ensemble: Tensor | None = None


class OnlineStudents(nn.Module, ABC):
    """Plain transformers models that read the same token ids and train together; to be given to `OnlineTrainer`.

    Args:
        students: Two models or more.

    Raises:
        ValueError: for fewer than two, one model twice, or labels that differ or stand in another order.
    """

    def __init__(self, students: Sequence[PreTrainedModel]) -> None:
        super().__init__()
        _check(students)
        self.students = nn.ModuleList(students)
        # Read once: Accelerate replaces `forward` by one without a signature.
        self._inputs = [token_inputs(student) for student in students]
        #: What any of them reads of a row.
        self.reads = tuple(dict.fromkeys(name for names in self._inputs for name in names))

    @property
    def each(self) -> list[PreTrainedModel]:
        """The students, plain models all, that share what they have in common."""
        return list(self.students)  # type: ignore[arg-type]  # what `__init__` has put there

    @property
    def config(self) -> PreTrainedConfig:
        """The first student's configuration."""
        return self.each[0].config

    @property
    def names(self) -> list[str]:
        """How evaluation calls each prediction."""
        return [f"peer_{number}" for number in range(1, len(self.students) + 1)]

    def gradient_checkpointing_enable(self, **kwargs: Any) -> None:
        """As of a `PreTrainedModel`, for each student."""
        for student in self.each:
            student.gradient_checkpointing_enable(**kwargs)

    def predict(self, number: int, inputs: Mapping[str, Tensor | None]) -> Tensor:
        """The logits of one student, that is given what it reads."""
        own = {name: inputs[name] for name in self._inputs[number] if inputs.get(name) is not None}
        logits: Tensor = self.students[number](**own).logits
        return logits

    @abstractmethod
    def forward(self, **inputs: Tensor | None) -> OnlineOutput:
        """Every student's logits for the batch."""

    @abstractmethod
    def lessons(self, output: OnlineOutput) -> list[tuple[Tensor, TeacherSignal]]:
        """For each learner, the first student first, its logits, with a gradient, and the signal that teaches it."""


class Peers(OnlineStudents):
    """Deep mutual learning: students of any sizes, each of which learns from the others' predictions.

    Student k's soft targets are the mean of the other students' probabilities, without gradient. With the forward KL
    this has the gradient of the paper's `1 / (K − 1) · Σ_l KL(p_l ‖ p_k)`, since KL is linear in `p_l` but for what
    does not depend on student k; with two students the values are equal, too. All students take their step together,
    on the same batch.

    On SST-2 two students of three layers gained nothing by it over the same trained alone: +0.35 ± 1.07 and
    −0.16 ± 0.86 points of accuracy, three seeds.

    Raises:
        ValueError: as `OnlineStudents`; for students of equal weights.

    References: Zhang et al. 2018, https://huggingface.co/papers/1706.00384.
    """

    def __init__(self, students: Sequence[PreTrainedModel]) -> None:
        super().__init__(students)
        _refuse_equal(students)

    def forward(self, **inputs: Tensor | None) -> OnlineOutput:
        predictions = tuple(self.predict(number, inputs) for number in range(len(self.students)))
        return OnlineOutput(logits=predictions[0], peers=predictions)

    def lessons(self, output: OnlineOutput) -> list[tuple[Tensor, TeacherSignal]]:
        assert output.peers is not None
        predictions = [prediction.detach() for prediction in output.peers]
        others = [torch.stack(predictions[:number] + predictions[number + 1 :]) for number in range(len(predictions))]
        problem_type = self.config.problem_type
        return [
            (prediction, Combination()(other, problem_type))
            for prediction, other in zip(output.peers, others, strict=True)
        ]


class Branches(OnlineStudents):
    """ONE, an ensemble made on the fly: branches that share their lower layers, taught by their gated ensemble.

    With the branches' logits `z_i` and a gate `g = softmax(W h + b)` on the mean `h` of the shared layers' output over
    the attended tokens, the ensemble is `z_e = Σ g_i z_i`. Branches and ensemble learn from the labels, and the
    branches from the ensemble's soft targets, which have no gradient; afterwards any branch is a plain model. The gate
    has no batch normalization, unlike the paper's: with it the gradient would depend on how a batch is cut.

    On SST-2 it gained nothing over the same students trained alone: −0.29 ± 0.83 and −0.55 ± 0.38 points of accuracy,
    three seeds; the gated ensemble −0.29 ± 0.72.

    Args:
        students: Models of one architecture whose upper layers or heads differ; the first one's lower part is shared.
        shared_layers: How many layers, from the lowest, are shared, with all that lies below them; by default all but
            the last.

    Raises:
        ValueError: as `OnlineStudents`; for layers that cannot be shared, or branches that are equal.

    References: Lan et al. 2018, https://huggingface.co/papers/1806.04606.
    """

    def __init__(self, students: Sequence[PreTrainedModel], shared_layers: int | None = None) -> None:
        super().__init__(students)
        if shared_layers is None:
            shared_layers = max(1, students[0].config.num_hidden_layers - 1)
        _check_branches(students, shared_layers)
        names = _shared_modules(students[0], shared_layers)
        _refuse_equal(students, names)
        self._shared = [students[0].get_submodule(name) for name in names]
        for student in students[1:]:
            for name, module in zip(names, self._shared, strict=True):
                student.set_submodule(name, module)
        self.gate = nn.Linear(students[0].config.hidden_size, len(students))

    @property
    def names(self) -> list[str]:
        return [*super().names, "ensemble"]

    def forward(self, **inputs: Tensor | None) -> OnlineOutput:
        with _captured(self._shared) as outputs:
            first = self.predict(0, inputs)
        with _replayed(self._shared, outputs):
            others = [self.predict(number, inputs) for number in range(1, len(self.students))]
        predictions = torch.stack([first, *others], dim=1)
        ensemble = (self._gates(outputs[-1], inputs.get("attention_mask"))[..., None] * predictions).sum(1)
        return OnlineOutput(logits=first, peers=(first, *others), ensemble=ensemble)

    def _gates(self, shared: Any, attention_mask: Tensor | None) -> Tensor:
        """Each branch's share of the ensemble, shape `(batch, branches)`, summing to 1."""
        hidden: Tensor = shared if isinstance(shared, Tensor) else shared[0]
        mask = torch.ones(hidden.shape[:2], device=hidden.device) if attention_mask is None else attention_mask
        mask = mask[..., None].to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
        return self.gate(mean).softmax(-1)

    def lessons(self, output: OnlineOutput) -> list[tuple[Tensor, TeacherSignal]]:
        assert output.peers is not None and output.ensemble is not None
        signal = TeacherSignal(logits=output.ensemble.detach())
        # The ensemble's own target is itself: a divergence of 0 without a gradient, so it learns from the labels alone.
        return [(prediction, signal) for prediction in (*output.peers, output.ensemble)]


@contextmanager
def _captured(modules: Sequence[nn.Module]) -> Iterator[list[Any]]:
    """Fills a list with the output of each module, in their order, while the context lasts."""
    outputs: list[Any] = [None] * len(modules)

    def keep(place: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            outputs[place] = output

        return hook

    handles = [module.register_forward_hook(keep(place)) for place, module in enumerate(modules)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _replayed(modules: Sequence[nn.Module], outputs: Sequence[Any]) -> Iterator[None]:
    """Each module returns its captured output, and computes nothing, while the context lasts."""
    for module, output in zip(modules, outputs, strict=True):
        module.forward = lambda *args, _output=output, **kwargs: _output
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _shared_modules(student: PreTrainedModel, shared_layers: int) -> list[str]:
    """The names of what lies below the layers, and of the lowest layers, in the order they are run in."""
    stack = layer_stack(student)
    base = student.base_model_prefix
    below = []
    for name, _ in student.get_submodule(base).named_children():
        if f"{stack}.".startswith(f"{base}.{name}."):
            break
        below.append(f"{base}.{name}")
    return [*below, *(f"{stack}.{index}" for index in range(shared_layers))]


def new_head(student: PreTrainedModel) -> PreTrainedModel:
    """The student with a newly initialized head, so that it differs from others cut from one model."""
    body = student.get_submodule(student.base_model_prefix)
    for child in student.children():
        for module in child.modules() if child is not body else ():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=getattr(student.config, "initializer_range", 0.02))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return student


def _check(students: Sequence[PreTrainedModel]) -> None:
    if len(students) < 2 or len(set(map(id, students))) < len(students):
        raise ValueError(f"students that teach one another must be two models or more, got {len(set(students))}.")
    first: Any = students[0].config
    for number, student in enumerate(students[1:], start=2):
        if LabelSpace.of_config(first).order_in(LabelSpace.of_config(student.config)) is not None:
            raise ValueError(
                f"students 1 and {number} have their labels in different orders: give both the same id2label."
            )


def _check_branches(students: Sequence[PreTrainedModel], shared_layers: int) -> None:
    layers = students[0].config.num_hidden_layers
    if not 1 <= shared_layers <= layers:
        raise ValueError(f"shared_layers={shared_layers} is not possible: give a number from 1 to {layers}.")
    shapes = [{name: tensor.shape for name, tensor in student.state_dict().items()} for student in students]
    if any(other != shapes[0] for other in shapes[1:]):
        raise ValueError("branches must be of one architecture and size; students of different ones can be Peers.")


def _refuse_equal(students: Sequence[PreTrainedModel], shared: Sequence[str] = ()) -> None:
    """Of equal students none has anything to teach, and without dropout they stay equal."""
    below = tuple(f"{name}." for name in shared)
    for (one, first), (other, second) in itertools.combinations(enumerate(students, start=1), 2):
        others = second.state_dict()
        own = ((name, tensor) for name, tensor in first.state_dict().items() if not name.startswith(below))
        if all(name in others and torch.equal(tensor, others[name]) for name, tensor in own):
            raise ValueError(
                f"students {one} and {other} start from equal weights and have nothing to teach each other: give "
                "one a new head, new_head(student), or start them from different seeds."
            )
