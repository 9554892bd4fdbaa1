"""TVM's importer of exported programs, with what it gets wrong put right.

Each of these was found by comparing values (:mod:`tvm_flow.verify`): its indices point outside of
tensors where PyTorch counts from the end, and several at once are taken one after the other.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from torch import fx
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvm_flow.schedules.contract.dtypes import FLOAT32

#: What TVM computes in its own runtime, which bundles have not, or of data-dependent size.
_NOT_THEIRS = frozenset(
    {
        "sort.default", "argsort.default", "topk.default", "median.default", "median.dim",
        "masked_select.default", "index_put.default", "scatter.value", "scatter.src",
        "cumsum.default", "cumprod.default", "bucketize.Tensor",
        "item.default", "_local_scalar_dense.default",
    }
)  # fmt: skip


class Importer(ExportedProgramImporter):
    """See the module's text."""

    def create_convert_map(self) -> dict[str, Any]:
        ours = {
            "copy.default": self._functional_copy,
            "index_select.default": self._index_select,
            "embedding.default": self._embedding,
            "folded": self._folded,
            "amax.default": self._reduced(relax.op.max),
            "amin.default": self._reduced(relax.op.min),
            "prod.dim_int": self._reduced(relax.op.prod),
        }
        comparisons = ("eq", "ne", "lt", "le", "gt", "ge")
        theirs: dict[str, Any] = {**super().create_convert_map(), **ours}
        for name in comparisons:
            theirs[f"{name}.Scalar"] = self._with_fraction(theirs[f"{name}.Scalar"])
        return {
            name: self._emitted(convert)
            for name, convert in theirs.items()
            if name not in _NOT_THEIRS
        }

    def _emitted(self, convert: Any) -> Any:
        """Some return a call that they have not emitted, which has no shape yet."""

        def converted(node: fx.Node, *rest: Any) -> Any:
            made = convert(node, *rest)
            return self._emit(made) if isinstance(made, relax.Call) else made

        return converted

    def _folded(self, node: fx.Node) -> relax.Expr:
        value = node.target.value  # type: ignore[union-attr]
        return relax.const(value.numpy(), str(value.dtype).removeprefix("torch."))

    def _reduced(self, operator: Any) -> Any:
        def converted(node: fx.Node) -> relax.Var:
            x, given, keep = (list(node.args) + [(), (), False][len(node.args) :])[:3]
            axes: Any = [given] if isinstance(given, int) else given
            value = self.env[x]
            if not _sizes(value):
                return value
            return self._emit(operator(value, list(axes) if axes else None, bool(keep)))

        return converted

    def _select(self, node: fx.Node) -> relax.Var:
        """One index, which is known: a slice without its axis."""
        x = self.env[node.args[0]]
        shape = _sizes(x)
        axis, index = _int(node.args[1]) % len(shape), _int(node.args[2])
        index += shape[axis] if index < 0 else 0
        part = self.block_builder.emit(relax.op.strided_slice(x, [axis], [index], [index + 1]))
        return self.block_builder.emit(relax.op.reshape(part, [*shape[:axis], *shape[axis + 1 :]]))

    def _narrow(self, node: fx.Node) -> relax.Var:
        x = self.env[node.args[0]]
        axis, start, length = (_int(value) for value in node.args[1:4])
        start += _sizes(x)[axis] if start < 0 else 0
        return self.block_builder.emit(relax.op.strided_slice(x, [axis], [start], [start + length]))

    def _index_select(self, node: fx.Node) -> relax.Var:
        x, axis, index = self.env[node.args[0]], _int(node.args[1]), self.env[node.args[2]]
        return self._taken(x, index, axis % len(_sizes(x)))

    def _embedding(self, node: fx.Node) -> relax.Var:
        """TVM's reads whatever an index out of range points at."""
        return self._taken(self.env[node.args[0]], self.env[node.args[1]], 0)

    def _take(self, node: fx.Node) -> relax.Var:
        x = self.env[node.args[0]]
        flat = self.block_builder.emit(relax.op.reshape(x, [math.prod(_sizes(x))]))
        return self._taken(flat, self.env[node.args[1]], 0)

    def _taken(self, x: relax.Expr, index: relax.Expr, axis: int) -> relax.Var:
        """``wrap`` counts negative indices from the end, and reads nothing outside of ``x``."""
        return self.block_builder.emit(relax.op.take(x, index, axis, mode="wrap"))

    def _index_tensor(self, node: fx.Node) -> relax.Var:
        """Indices broadcast with each other and stand where the first of their axes was, or in
        front of all if there is an axis without one between them. Joined into one axis and one
        index, they are a single ``take``."""
        x, given = self.retrieve_args(node)[:2]
        axes = [axis for axis, index in enumerate(given) if index is not None]
        indices = [given[axis] for axis in axes]
        if any(str(index.ty.dtype) == "bool" for index in indices):
            raise ValueError("the number of elements that a mask selects depends on the data")
        if any(b - a != 1 for a, b in pairwise(axes)):
            rest = [axis for axis in range(len(_sizes(x))) if axis not in axes]
            x = self.block_builder.emit(relax.op.permute_dims(x, [*axes, *rest]))
            axes = list(range(len(axes)))
        shape, first, last = _sizes(x), axes[0], axes[-1] + 1
        if len(axes) == 1:
            return self._taken(x, indices[0], first)
        sizes = shape[first:last]
        joined = [*shape[:first], math.prod(sizes), *shape[last:]]
        flat = self.block_builder.emit(relax.op.reshape(x, joined))
        return self._taken(flat, self._joined(indices, sizes), first)

    def _joined(self, indices: list[relax.Expr], sizes: list[int]) -> relax.Expr:
        """The place in row-major order that indices into axes of ``sizes`` stand for."""
        total: relax.Expr | None = None
        for given, size in zip(indices, sizes, strict=True):
            index = self._emit(relax.op.astype(given, "int64"))
            n, zero = relax.const(size, "int64"), relax.const(0, "int64")
            wrapped = self._emit(relax.op.add(index, n))
            negative = self._emit(relax.op.less(index, zero))
            place = self._emit(relax.op.where(negative, wrapped, index))
            if total is not None:
                place = self._emit(relax.op.add(self._emit(relax.op.multiply(total, n)), place))
            total = place
        return total

    def _emit(self, call: relax.Expr) -> relax.Var:
        return self.block_builder.emit(call)

    def _functional_copy(self, node: fx.Node) -> relax.Var:
        """What is copied onto stays what it was: the program is functional."""
        kept = self.env[node.args[0]]
        copied = self._copy_(node)
        self.env[node.args[0]] = kept
        return copied

    def _with_fraction(self, convert: Any) -> Any:
        """Integers are compared with a fraction as numbers; TVM would round it to an integer."""

        def converted(node: fx.Node) -> relax.Var:
            x, other = node.args
            value = self.env[x]
            if not isinstance(other, float) or "int" not in str(value.ty.dtype):
                return convert(node)
            self.env[x] = self._emit(relax.op.astype(value, FLOAT32.value))
            try:
                return convert(node)
            finally:
                self.env[x] = value

        return converted

    def _native_group_norm(self, node: fx.Node) -> relax.Var:
        """Without weights as well: input, weight, bias, n, c, pixels, groups, epsilon."""
        x, gamma, beta = (self.env.get(arg) for arg in node.args[:3])
        channels = _sizes(x)[1]
        gamma = relax.const([1.0] * channels, x.ty.dtype) if gamma is None else gamma
        beta = relax.const([0.0] * channels, x.ty.dtype) if beta is None else beta
        return self._emit(
            relax.op.nn.group_norm(
                x,
                gamma,
                beta,
                num_groups=node.args[6],
                channel_axis=1,
                axes=list(range(2, len(_sizes(x)))),
                epsilon=node.args[7],
            )
        )

    def _grid_sampler_2d(self, node: fx.Node) -> relax.Var:
        """TVM wants the two coordinates before the pixels."""
        grid = node.args[1]
        kept = self.env[grid]
        self.env[grid] = self._emit(relax.op.permute_dims(kept, [0, 3, 1, 2]))
        try:
            return super()._grid_sampler_2d(node)
        finally:
            self.env[grid] = kept


def _int(argument: Any) -> int:
    return int(argument)


def _sizes(x: relax.Expr) -> list[int]:
    return [int(size) for size in x.ty.shape.values]
