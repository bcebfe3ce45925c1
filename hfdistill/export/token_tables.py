"""Embeddings in a graph: in one with the output projection where the two are tied, and in int8 with a scale a token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

#: Smaller tables are left in float32: there is nothing to be saved.
LEAST_NUMBERS = 4096


def share_tables(model: Any) -> None:
    """Lets token embeddings be looked up in the output projection that they are tied to, so that both are kept once.

    Args:
        model: An `onnx_ir.Model` in float32, which is changed.
    """
    import onnx_ir as ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    graph = model.graph
    projections = [node.inputs[1] for node in graph if node.op_type == "MatMul" and _is_table(node.inputs[1])]
    for node in list(_lookups(graph)):
        table, tokens = node.inputs
        twin = next((one for one in projections if _is_transpose(one, table)), None)
        if twin is not None:
            columns = ir.node("Gather", [twin, tokens], {"axis": 1}, name=f"{table.name}.columns")
            rows = ir.node("Transpose", [columns.outputs[0]], {"perm": [1, 2, 0]}, name=f"{table.name}.rows")
            _name_outputs(columns, rows)
            _replace(graph, node, [columns, rows])
    RemoveUnusedNodesPass()(model)


def quantize_tables(model: Any) -> None:
    """Rounds the tables of embeddings to int8, a scale for each token.

    Those that `share_tables` looks up in the projection have the weights and scales that it was given.

    Args:
        model: An `onnx_ir.Model` whose matrix products are quantized, which is changed.
    """
    import onnx_ir as ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    graph = model.graph
    for node in list(_lookups(graph)):
        table, tokens = node.inputs
        if table.const_value.size < LEAST_NUMBERS:
            continue
        axis = node.attributes.get_int("axis", 0)
        weights, scales = (_of_projection if axis else _rounded)(graph, table)
        looked_up = ir.node("Gather", [weights, tokens], {"axis": axis}, name=f"{node.name}.int8")
        scale = ir.node("Gather", [scales, tokens], {"axis": 0}, name=f"{node.name}.scale")
        number = ir.node("Cast", [looked_up.outputs[0]], {"to": ir.DataType.FLOAT}, name=f"{node.name}.float")
        product = ir.node("Mul", [number.outputs[0], scale.outputs[0]], name=f"{node.name}.scaled")
        _name_outputs(looked_up, scale, number, product)
        _replace(graph, node, [looked_up, scale, number, product])
    RemoveUnusedNodesPass()(model)


def _lookups(graph: Any) -> Iterator[Any]:
    return (node for node in graph if node.op_type == "Gather" and _is_table(node.inputs[0]))


def _is_table(value: Any) -> bool:
    weights = value.const_value
    return weights is not None and len(weights.shape) == 2 and weights.dtype.name == "FLOAT"


def _is_transpose(one: Any, other: Any) -> bool:
    if tuple(one.const_value.shape) != tuple(reversed(tuple(other.const_value.shape))):
        return False
    return np.array_equal(one.const_value.numpy(), other.const_value.numpy().T)


def _of_projection(graph: Any, table: Any) -> tuple[Any, Any]:
    """Weights `(width, tokens)` and scales `(tokens,)` of a projection that ONNX Runtime has quantized."""
    return graph.initializers[f"{table.name}_quantized"], graph.initializers[f"{table.name}_scale"]


def _rounded(graph: Any, table: Any) -> tuple[Any, Any]:
    """Weights `(tokens, width)` and scales `(tokens, 1)`: the largest of a row is 127."""
    weights = table.const_value.numpy()
    scales = np.maximum(np.abs(weights).max(-1, keepdims=True) / 127, np.finfo(np.float32).tiny)
    rounded = np.round(weights / scales).astype(np.int8)
    return _weight(graph, f"{table.name}_int8", rounded), _weight(graph, f"{table.name}_scales", scales)


def _weight(graph: Any, name: str, values: np.ndarray) -> Any:
    import onnx_ir as ir

    if name not in graph.initializers:
        tensor = ir.tensor(values, name=name)
        kind = ir.TensorType(tensor.dtype)
        graph.register_initializer(ir.Value(name=name, shape=ir.Shape(values.shape), type=kind, const_value=tensor))
    return graph.initializers[name]


def _name_outputs(*nodes: Any) -> None:
    for node in nodes:
        node.outputs[0].name = f"{node.name}.output"


def _replace(graph: Any, node: Any, others: list[Any]) -> None:
    """Puts nodes, the last of which gives what it gave, in the place of a node."""
    graph.insert_before(node, others)
    before, after = node.outputs[0], others[-1].outputs[0]
    after.shape, after.type = before.shape, before.type
    before.replace_all_uses_with(after)
    graph.remove(node, safe=True)
