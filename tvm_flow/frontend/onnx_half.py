"""Models of half precision in single precision, in which everything is computed here."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tvm_flow.schedules.contract.dtypes import FLOAT32

_HALF = {TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}
#: Attributes whose value is an element type.
_TYPES = frozenset(
    {"dtype", "to", "output_dtype", "output_datatype", "precision", "softmax_precision",
     "stash_type"}
)  # fmt: skip


def in_single(model: onnx.ModelProto) -> tuple[str, ...]:
    """Make fp16 and bf16 of ``model`` fp32, in place, its inputs and outputs among them; a remark
    for the user if there was any."""
    found: set[str] = set()
    _graph(model.graph, found)
    for function in model.functions:
        _nodes(function.node, found)
        _values(function.value_info, found)
    if not found:
        return ()
    kinds = " and ".join(sorted(found))
    return (f"the model's {kinds} is computed in fp32, which inputs and outputs are as well",)


def _graph(graph: onnx.GraphProto, found: set[str]) -> None:
    for tensor in graph.initializer:
        _tensor(tensor, found)
    for values in (graph.input, graph.output, graph.value_info):
        _values(values, found)
    _nodes(graph.node, found)


def _nodes(nodes: list[onnx.NodeProto], found: set[str]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in _TYPES and attribute.i in _HALF:
                found.add(_HALF[attribute.i])
                attribute.i = TensorProto.FLOAT
            for tensor in (attribute.t, *attribute.tensors):
                _tensor(tensor, found)
            for graph in (attribute.g, *attribute.graphs):
                _graph(graph, found)


def _values(values: list[onnx.ValueInfoProto], found: set[str]) -> None:
    for value in values:
        _type(value.type, found)


def _type(kind: onnx.TypeProto, found: set[str]) -> None:
    which = kind.WhichOneof("value")
    if which in ("sequence_type", "optional_type"):
        _type(getattr(kind, which).elem_type, found)
    elif which == "tensor_type" and kind.tensor_type.elem_type in _HALF:
        found.add(_HALF[kind.tensor_type.elem_type])
        kind.tensor_type.elem_type = TensorProto.FLOAT


def _tensor(tensor: onnx.TensorProto, found: set[str]) -> None:
    if tensor.data_type in _HALF:
        found.add(_HALF[tensor.data_type])
        wide = numpy_helper.to_array(tensor).astype(FLOAT32.numpy)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(wide), tensor.name))
