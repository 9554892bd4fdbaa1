"""TVM's ONNX importer, with common operators kept that it would turn into loop nests."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

_WINDOWED = ("Conv", "MaxPool", "AveragePool")


class Importer(ONNXGraphImporter):
    """TVM's importer, with operators kept that it would turn into loop nests or gathers."""

    def _convert_operator(
        self, op_name: str, inputs: list[Any], attrs: dict[str, Any], opset: int
    ) -> Any:
        if op_name in _WINDOWED:
            _explicit_pads(inputs, attrs)
        kept = {
            "BatchNormalization": self._batch_norm,
            "Clip": self._clip,
            "Gather": self._gather,
            "GatherElements": self._gather_elements,
            "GatherND": self._gather_nd,
            "MeanVarianceNormalization": self._standardise,
            "Pad": self._pad,
            "ScatterElements": self._scatter_elements,
            "ScatterND": self._scatter,
        }.get(op_name)
        call = kept(inputs, attrs) if kept else None
        if call is None:
            call = super()._convert_operator(op_name, inputs, attrs, opset)
        return self._bound(call)

    def _bound(self, result: Any) -> Any:
        """Results as variables: what the model calls by a name is then found again."""
        if isinstance(result, relax.Tuple):
            return relax.Tuple([self._bound(field) for field in result.fields])
        if not isinstance(result, relax.Call | relax.TupleGetItem):
            return result
        result = self.bb.normalize(result)
        return self._emit(result) if isinstance(result.ty, relax.TensorType) else result

    def _batch_norm(self, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        """With ``training_mode``: by the statistics of the batch, beside the running ones."""
        if not attrs.get("training_mode", 0):
            return None
        x, scale, bias, *running = inputs
        momentum = relax.const(attrs.get("momentum", 0.9), x.ty.dtype)
        rest = relax.const(1.0 - attrs.get("momentum", 0.9), x.ty.dtype)
        rank = len(x.ty.shape.values)
        column = [-1, *[1] * (rank - 2)]
        centred, mean, variance = self._statistics(x, [a for a in range(rank) if a != 1])
        epsilon = relax.const(attrs.get("epsilon", 1e-5), x.ty.dtype)
        deviation = self._emit(relax.op.sqrt(relax.op.add(variance, epsilon)))
        standard = self._emit(relax.op.divide(centred, deviation))
        scaled = self._emit(relax.op.multiply(standard, relax.op.reshape(scale, column)))
        results = [self._emit(relax.op.add(scaled, relax.op.reshape(bias, column)))]
        for old, new in zip(running, (mean, variance), strict=True):
            flat = self._emit(relax.op.reshape(new, [-1]))
            kept = self._emit(relax.op.multiply(old, momentum))
            added = self._emit(relax.op.multiply(flat, rest))
            results.append(self._emit(relax.op.add(kept, added)))
        return relax.Tuple(results)

    def _standardise(self, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        """TVM takes E[x]² from E[x²], of which nothing is left for a large mean."""
        x = inputs[0]
        centred, _, variance = self._statistics(x, list(attrs.get("axes", (0, 2, 3))))
        deviation = self._emit(relax.op.sqrt(variance))
        small = relax.const(1e-9, x.ty.dtype)  # the operator's definition
        return relax.op.divide(centred, self._emit(relax.op.add(deviation, small)))

    def _statistics(self, x: Any, axes: list[int]) -> tuple[Any, Any, Any]:
        """``x`` less its mean, the mean, and the mean square of the first."""
        mean = self._emit(relax.op.mean(x, axes, keepdims=True))
        centred = self._emit(relax.op.subtract(x, mean))
        squares = self._emit(relax.op.multiply(centred, centred))
        return centred, mean, self._emit(relax.op.mean(squares, axes, keepdims=True))

    def _emit(self, call: Any) -> Any:
        return self.bb.emit(call)

    def _clip(self, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        """Bounds are attributes up to opset 10 and optional inputs since."""
        low = self._given(inputs, 1, attrs.get("min", -np.inf))
        high = self._given(inputs, 2, attrs.get("max", np.inf))
        if low is None or high is None or np.isnan(low).any() or np.isnan(high).any():
            return None
        return relax.op.clip(inputs[0], float(low), float(high))

    def _pad(self, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        """Constant padding of all axes: attributes up to opset 10, inputs since."""
        pads = self._given(inputs, 1, attrs.get("pads"))
        value = self._given(inputs, 2, attrs.get("value", 0.0))
        constant = attrs.get("mode", b"constant") == b"constant"
        rank = len(inputs[0].ty.shape.values)
        if not constant or pads is None or value is None or len(pads) != 2 * rank or min(pads) < 0:
            return None
        width = [int(pads[i + side * rank]) for i in range(rank) for side in (0, 1)]
        return relax.op.nn.pad(inputs[0], width, "constant", float(value))

    def _scatter(self, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        """Indices that fill a range of one axis: how ``x[:, a:b] = y`` is exported."""
        indices = self._given(inputs, 1, None)
        if indices is None or attrs.get("reduction", b"none") != b"none":
            return None
        *box, depth = indices.shape
        if depth != len(box) or not indices.size:
            return None
        start = indices.reshape(-1, depth)[0]
        if not np.array_equal(indices, np.moveaxis(np.indices(box), 0, -1) + start):
            return None
        sizes = _dims(inputs[0])
        partial = [axis for axis in range(depth) if box[axis] != sizes[axis]]
        if len(partial) != 1:
            return None
        axis = partial[0]
        first, stop = int(start[axis]), int(start[axis]) + box[axis]
        return relax.op.slice_scatter(inputs[0], inputs[2], first, stop, 1, axis=axis)

    def _gather(self, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        """``wrap`` counts negative indices from the end."""
        if not isinstance(inputs[0].ty, relax.TensorType) or isinstance(
            inputs[0], tvm.ir.GenericConst
        ):
            return None  # of shapes
        return relax.op.take(*inputs, attrs.get("axis", 0), mode="wrap")

    def _gather_elements(self, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        axis = attrs.get("axis", 0)
        indices = self._from_start(inputs, _dims(inputs[0])[axis])
        return None if indices is None else relax.op.gather_elements(inputs[0], indices, axis)

    def _gather_nd(self, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        batch, depth = attrs.get("batch_dims", 0), _dims(inputs[1])[-1]
        indices = self._from_start(inputs, _dims(inputs[0])[batch : batch + depth])
        return None if indices is None else relax.op.gather_nd(inputs[0], indices, batch)

    def _scatter_elements(self, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        axis = attrs.get("axis", 0)
        indices = self._from_start(inputs, _dims(inputs[0])[axis])
        if indices is None or attrs.get("reduction", b"none") != b"none":
            return None
        return relax.op.scatter_elements(inputs[0], indices, inputs[2], axis)

    def _from_start(self, inputs: list[Any], sizes: Any) -> Any:
        """Constant indices, the negative ones counted from the start; ``None`` for others."""
        indices = self._given(inputs, 1, None)
        if indices is None:
            return None
        return relax.const(np.where(indices < 0, indices + np.asarray(sizes), indices), "int64")

    def _given(self, inputs: list[Any], index: int, absent: Any) -> Any:
        """Value of a constant input; ``absent`` if it is left out, ``None`` if it is computed."""
        found = inputs[index] if index < len(inputs) else None
        if found is None:
            return absent
        if isinstance(found, tvm.ir.GenericConst):
            return found.value.numpy()
        stored = self._params.get(getattr(found, "name", None))
        return None if stored is None else stored[1].numpy()


def _dims(x: Any) -> list[int]:
    return [int(size) for size in x.ty.shape.values]


def _explicit_pads(inputs: list[Any], attrs: dict[str, Any]) -> None:
    """Replace ``auto_pad=SAME_*`` by the numbers it stands for, which may differ per side."""
    mode = attrs.get("auto_pad", b"NOTSET")
    if mode not in (b"SAME_UPPER", b"SAME_LOWER"):
        return
    kernel = attrs.get("kernel_shape") or _dims(inputs[1])[2:]
    sizes = _dims(inputs[0])[2:]
    strides = attrs.get("strides", [1] * len(sizes))
    dilations = attrs.get("dilations", [1] * len(sizes))
    before, after = [], []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        before.append(less if mode == b"SAME_UPPER" else more)
        after.append(more if mode == b"SAME_UPPER" else less)
    del attrs["auto_pad"]
    attrs["pads"] = (*before, *after)
