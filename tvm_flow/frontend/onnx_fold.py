"""Fold what an ONNX graph computes from shapes.

Exporters spell ``x.view(x.size(0), -1)`` or a channel shuffle as chains of Shape, Gather and
Concat nodes. With fixed input sizes they are constants, and TVM's importer wants them to be. What
runs by such numbers, as often or one way or the other, is written out.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tvm_flow.frontend.onnx_control import write_out

_LARGEST = 1024  # elements; shapes, axes, pads and scales are far smaller, weights far larger


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` in which nodes that depend on shapes and constants only are Constants.

    Weights (floating-point initialisers) are left alone, so that they keep their names.
    """
    while True:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        if not _fold_once(model):
            return model


def _fold_once(model: onnx.ModelProto) -> bool:
    """Replace in place what can be computed now; whether there was anything."""
    graph, shapes, changed = model.graph, _static_shapes(model.graph), False
    known = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type != onnx.TensorProto.FLOAT
    }
    for node in graph.node:
        feeds = _feeds(node, known, shapes)
        if feeds is None:
            continue
        value = _run(node, feeds, model)
        if value.size > _LARGEST:
            continue
        known[node.output[0]] = value
        if node.op_type != "Constant":
            tensor = numpy_helper.from_array(value)
            node.CopyFrom(
                onnx.helper.make_node("Constant", [], [node.output[0]], node.name, value=tensor)
            )
            changed = True
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    return write_out(graph, known, shapes, opset) or changed


def _feeds(
    node: onnx.NodeProto, known: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]
) -> dict[str, np.ndarray] | None:
    """Inputs of a node that can be computed now, else ``None``."""
    nested = any(attr.type == onnx.AttributeProto.GRAPH for attr in node.attribute)
    if node.domain not in ("", "ai.onnx") or len(node.output) != 1 or nested:
        return None
    if node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial"):
        return None
    given = [name for name in node.input if name]
    if node.op_type == "Shape" and given[0] in shapes:
        return {given[0]: np.empty(shapes[given[0]], np.bool_)}  # only its shape is looked at
    constant = node.op_type == "Constant"
    if (given or constant) and all(name in known for name in given):
        return {name: known[name] for name in given}
    return None


def _run(node: onnx.NodeProto, feeds: dict[str, np.ndarray], model: onnx.ModelProto) -> np.ndarray:
    """The node's output under the operator versions of ``model``."""
    names = list(dict.fromkeys(feeds))
    function = onnx.helper.make_function(
        "fold", "node", names, list(node.output), [node], list(model.opset_import)
    )
    return np.asarray(ReferenceEvaluator(function).run(None, feeds, attributes={})[0])


def _static_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    found = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.dim_value > 0 for dim in kind.shape.dim):
            found[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return found
