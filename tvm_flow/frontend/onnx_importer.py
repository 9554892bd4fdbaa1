"""TVM's ONNX importer, with our converters in front of its own."""

from __future__ import annotations

from typing import Any

import onnx
from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter, _get_convert_map

from tvm_flow.frontend.onnx_operators import CONVERTERS, Call

#: TVM's of these names are other operators, of another domain, or have a result too few.
_NOT_TVMS = frozenset({"Attention", "BiasGelu", "FastGelu"})
KNOWN = (frozenset(_get_convert_map()) - _NOT_TVMS) | frozenset(CONVERTERS)


class Importer(ONNXGraphImporter):
    """``node``: the ONNX node that is being converted, for messages."""

    def __init__(self) -> None:
        super().__init__({}, {}, keep_params_in_input=True)

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """Unknown ones are found one by one, by name."""

    def _construct_nodes(self, graph: onnx.GraphProto) -> None:
        for node in graph.node:  # TVM has branches, which no plan has
            if node.op_type == "If":
                self._convert_operator("If", [], {"tvm_custom": {"num_outputs": 1}}, self.opset)
        super()._construct_nodes(graph)

    def _convert_operator(
        self, op_name: str, inputs: list[Any], attrs: dict[str, Any], opset: int
    ) -> Any:
        converter = CONVERTERS.get(op_name)
        if converter is None:
            return self._bound(super()._convert_operator(op_name, inputs, attrs, opset))
        results = attrs["tvm_custom"]["num_outputs"]
        call = Call(self.bb, op_name, list(inputs), attrs, opset, results, self._params)
        made = converter(call)
        if made is None:
            made = super()._convert_operator(op_name, inputs, attrs, opset)
        return self._bound(made)

    def _bound(self, result: Any) -> Any:
        """Results as variables: what the model calls by a name is then found again."""
        if isinstance(result, relax.Tuple):
            return relax.Tuple([self._bound(field) for field in result.fields])
        if not isinstance(result, relax.Call | relax.TupleGetItem):
            return result
        result = self.bb.normalize(result)
        return self.bb.emit(result) if isinstance(result.ty, relax.TensorType) else result
