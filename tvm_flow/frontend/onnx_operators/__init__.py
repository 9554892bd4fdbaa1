"""ONNX operators -> Relax, those that TVM's importer has not, gets wrong, or makes loop nests of.

A converter takes a :class:`~tvm_flow.frontend.onnx_operators.call.Call` and returns the result, or
a Relax tuple of the results; ``None`` leaves a node to TVM. It raises
:class:`NotConvertibleError` for what it cannot express.
"""

from __future__ import annotations

from tvm_flow.frontend.onnx_operators import (
    elementwise,
    indexing,
    movement,
    normalisation,
    ordering,
    products,
    quantised,
    recurrent,
    refused,
    resize,
    sequences,
    transposed,
    unpooling,
    windows,
)
from tvm_flow.frontend.onnx_operators.call import Call, Converter, NotConvertibleError

__all__ = ["CONVERTERS", "Call", "NotConvertibleError"]

_MODULES = (
    elementwise, indexing, movement, normalisation, ordering, products, quantised, recurrent,
    refused, resize, sequences, transposed, unpooling, windows,
)  # fmt: skip

CONVERTERS: dict[str, Converter] = {
    name: converter for module in _MODULES for name, converter in module.CONVERTERS.items()
}
