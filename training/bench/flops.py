"""How much arithmetic a network is: multiplications and additions of the operators that are nearly all of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import onnx

if TYPE_CHECKING:
    from collections.abc import Mapping


def flops_of(content: bytes) -> float:
    """Floating point operations of one window: of convolutions, matrix products and LSTMs, the rest left out.

    Args:
        content: of an ONNX file with a free batch axis, which counts as 1.

    Raises:
        ValueError: the shapes of an operator that counts cannot be told.
    """
    graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content)).graph
    shapes = {v.name: _shape(v) for v in (*graph.input, *graph.value_info, *graph.output)}
    shapes |= {weight.name: tuple(weight.dims) for weight in graph.initializer}
    return float(sum(_flops(node, shapes) for node in graph.node))


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(d.dim_value if d.HasField("dim_value") else 1 for d in value.type.tensor_type.shape.dim)


def _flops(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> float:
    if node.op_type not in {"Conv", "MatMul", "Gemm", "LSTM"}:
        return 0.0
    try:
        first, weight, out = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
    except KeyError as error:
        msg = f"{node.op_type} {node.name}: no shape is known for {error}"
        raise ValueError(msg) from error
    if node.op_type == "Conv":  # weight [out, in, kernel]
        return 2.0 * math.prod(out) * math.prod(weight[1:])
    if node.op_type == "LSTM":  # first [length, batch, inputs], weight [1, 4 hidden, inputs]
        hidden = weight[1] // 4
        return 2.0 * first[0] * first[1] * weight[1] * (weight[2] + hidden)
    inner = first[-1] if node.op_type == "MatMul" else weight[-1 if _transposed(node) else 0]
    return 2.0 * math.prod(out) * inner


def _transposed(node: Any) -> bool:
    return any(a.name == "transB" and a.i for a in node.attribute)
