"""A term on the graph that a batch of examples makes in each layer, and on how it changes from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hfdistill.losses.base import Batch, StudentOutput, Term
from hfdistill.losses.divergences import logit_mse
from hfdistill.losses.layer_maps import make_layer_map
from hfdistill.losses.relation import Relation, counted_rows, first_token, mean_over, partners, relative_distances
from hfdistill.losses.signal import TeacherSignal

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class InstanceGraph(Relation):
    """The instance relationship graph: its vertices, its edges, and their transformation from layer to layer.

    `vertex_weight · V + edge_weight · E + transformation_weight · T` for each example, the item, with

    - V: the mean squared difference of the logits, the vertices that teacher and student can share;
    - E: in each matched layer, the mean over its partners of the squared difference of the edges `‖x_i − x_j‖`;
    - T: between each two successive matched layers, the squared difference of how far the example moves,
      `‖x_i^(l+1) − x_i^l‖`, and the mean squared difference of how its edges change, `A^(l+1) − A^l`.

    Edges and movements are divided by their mean over the micro-batch, so that widths may differ. x is the first
    token's hidden state.

    Its gain was not measured here.

    Args:
        layer_map: Which teacher layer is matched with each student layer: `uniform`, `last`, `first`, or a list.
        vertex_weight: The weight of V.
        edge_weight: The weight of E.
        transformation_weight: The weight of T, which a student of one layer does not have.

    Returns: One loss for each example, shape `(batch,)`.

    Raises:
        ValueError: for a learned layer map: a mixture of graphs is none; or when the weights leave nothing to teach.

    References: Liu et al. 2019, Knowledge Distillation via Instance Relationship Graph, CVPR 2019, section 3,
        https://doi.org/10.1109/CVPR.2019.00726.

    Relations: E of the last layer is `RelationalDistance` with a squared error.

    Example:
        >>> InstanceGraph("last", transformation_weight=0.0).config()
        {'layer_map': 'last', 'vertex_edge_transformation_weights': [1.0, 1.0, 0.0]}
    """

    name = "instance_graph"
    citation = "https://doi.org/10.1109/CVPR.2019.00726"
    settings = {"layer_map": "layer_map"}

    def __init__(
        self,
        layer_map: str | Sequence[int] = "uniform",
        vertex_weight: float = 1.0,
        edge_weight: float = 1.0,
        transformation_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if layer_map == "learned":
            raise ValueError("the term 'instance_graph' takes no learned layer map: use uniform, last or first.")
        self.layer_map = layer_map
        self.vertex_weight = vertex_weight
        self.edge_weight = edge_weight
        self.transformation_weight = transformation_weight

    def bind(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        sizes = (model.config.num_hidden_layers for model in (student, teacher))
        self.map = make_layer_map(self.layer_map, *sizes)
        layers = student.config.num_hidden_layers
        if not (self.vertex_weight or self.edge_weight or (self.transformation_weight and layers > 1)):
            raise ValueError(
                f"the term {self.name!r} has nothing to teach a student of {layers} layer{'s' * (layers != 1)} with "
                "these weights: give vertex_weight or edge_weight a number above 0."
            )

    def forward(self, student: StudentOutput, teacher: TeacherSignal | None, batch: Batch) -> Tensor:
        prediction: Any = student
        assert teacher is not None and teacher.logits is not None and teacher.hidden_states is not None
        student_layers = [first_token(prediction, layer) for layer in range(1, len(prediction.hidden_states))]
        teacher_layers = self.map([first_token(teacher, layer) for layer in range(1, len(teacher.hidden_states))])
        vertices = logit_mse(prediction.logits, teacher.logits).view(len(prediction.logits), -1).mean(1)
        edges, movement = self._layers(student_layers, teacher_layers, counted_rows(batch, Term.valid(self, batch)))
        return self.vertex_weight * vertices + self.edge_weight * edges + self.transformation_weight * movement

    def _layers(
        self, student_layers: Sequence[Tensor], teacher_layers: Sequence[Tensor], counted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Each example's loss on edges and on transformations, from the vertices of each layer in both models."""
        pairs = partners(counted)
        graphs = [
            [relative_distances(vertices, pairs) for vertices in layers] for layers in (student_layers, teacher_layers)
        ]
        edges = [mean_over((s - t).square(), pairs) for s, t in zip(*graphs, strict=True)]
        moves = [
            [_relative_move(*step, counted) for step in pairwise(layers)] for layers in (student_layers, teacher_layers)
        ]
        changes = [[after - before for before, after in pairwise(layers)] for layers in graphs]
        transformations = [
            (move_s - move_t).square() + mean_over((change_s - change_t).square(), pairs)
            for move_s, move_t, change_s, change_t in zip(*moves, *changes, strict=True)
        ]
        none = torch.zeros_like(edges[0])
        return sum(edges, none) / len(edges), sum(transformations, none) / max(1, len(transformations))

    def config(self) -> dict[str, Any]:
        weights = (self.vertex_weight, self.edge_weight, self.transformation_weight)
        return {"layer_map": self.layer_map, "vertex_edge_transformation_weights": list(weights)}


def _relative_move(before: Tensor, after: Tensor, counted: Tensor) -> Tensor:
    """How far each example moves from one layer to the next, as a share of the mean."""
    distances = torch.linalg.vector_norm(after - before, dim=-1)
    return distances / mean_over(distances, counted).clamp_min(1e-12)
