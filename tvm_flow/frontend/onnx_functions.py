"""What a model writes shortly, written out: functions of its own, and operators that ONNX defines
by others, where the importer does not know them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

import numpy as np
import onnx
from onnx import inliner, numpy_helper

_CONSTANTS = {
    "value_float": onnx.TensorProto.FLOAT, "value_floats": onnx.TensorProto.FLOAT,
    "value_int": onnx.TensorProto.INT64, "value_ints": onnx.TensorProto.INT64,
}  # fmt: skip


def written_out(model: onnx.ModelProto, known: Collection[str]) -> onnx.ModelProto:
    """A copy of ``model`` in which everything but operators that are ``known`` is written out, as
    far as it is defined by others, and constants are tensors."""
    model = _typed(model)
    if model.functions or any(node.op_type not in known for node in model.graph.node):
        _with_defaults(model, known)
        kept = [("", name) for name in known]
        with suppress(RuntimeError):  # what it cannot write out is refused by its name
            model = inliner.inline_selected_functions(
                model, kept, exclude=True, inline_schema_functions=True
            )
    _constants_as_tensors(model.graph)
    return model


def _typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the types of all values, initialisers among them: some definitions depend on
    them."""
    typed = onnx.shape_inference.infer_shapes(model, data_prop=True)
    told = {value.name for value in (*typed.graph.input, *typed.graph.value_info)}
    for tensor in typed.graph.initializer:
        if tensor.name not in told:
            typed.graph.value_info.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    # an input that is left out has no name, and is asked for its type all the same
    typed.graph.value_info.append(
        onnx.helper.make_tensor_value_info("", onnx.TensorProto.FLOAT, [])
    )
    return typed


def _with_defaults(model: onnx.ModelProto, known: Collection[str]) -> None:
    """Attributes that have a default, where they are left out: definitions refer to them."""
    versions = {opset.domain: opset.version for opset in model.opset_import}
    for node in model.graph.node:
        if node.op_type in known or node.domain not in versions:
            continue
        if not onnx.defs.has(node.op_type, node.domain):
            continue
        try:
            schema = onnx.defs.get_schema(node.op_type, versions[node.domain], node.domain)
        except onnx.defs.SchemaError:  # none of this version
            continue
        given = {attribute.name for attribute in node.attribute}
        node.attribute.extend(
            declared.default_value
            for name, declared in schema.attributes.items()
            if name not in given and declared.default_value.name
        )


def _constants_as_tensors(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if node.op_type == "Constant":
            _as_tensor(node)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _constants_as_tensors(attribute.g)


def _as_tensor(node: onnx.NodeProto) -> None:
    kind = _CONSTANTS.get(node.attribute[0].name) if node.attribute else None
    if kind is None:
        return
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    tensor = numpy_helper.from_array(np.asarray(value, onnx.helper.tensor_dtype_to_np_dtype(kind)))
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("value", tensor))
