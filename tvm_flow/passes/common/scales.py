"""Scales and shifts by constants, however they are written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_flow.ir.graph import Array, Node
from tvm_flow.schedules.contract.dtypes import FLOAT32


@dataclass(frozen=True)
class Affine:
    """``node`` is ``x * scale + shift``; both constants are fp64, have as many axes as ``x`` and
    broadcast to its shape."""

    node: Node
    x: Node
    scale: Array
    shift: Array

    def along(self, axis: int) -> tuple[Array, Array] | None:
        """Scale and shift, one for each element of ``axis``; ``None`` if they change along
        another one."""
        axis %= self.x_rank
        found = []
        for value in (self.scale, self.shift):
            if any(size != 1 for i, size in enumerate(value.shape) if i != axis):
                return None
            found.append(np.broadcast_to(value.reshape(-1), (self.node.shape[axis],)))
        return found[0], found[1]

    @property
    def x_rank(self) -> int:
        return len(self.x.shape)


def affine_of(node: Node) -> Affine | None:
    """What ``node`` does as a scale and a shift by finite constants, if it does that."""
    if node.dtype != FLOAT32 or not node.shape:
        return None
    if node.op == "affine":
        shape = (1, -1, *[1] * (len(node.shape) - 2))
        scale, shift = (node.weights[k].astype(np.float64).reshape(shape)
                        for k in ("scale", "shift"))  # fmt: skip
        return Affine(node, node.inputs[0], scale, shift)
    if node.op not in ("add", "subtract", "multiply", "divide") or len(node.inputs) != 2:
        return None
    x, constant = node.inputs
    if x.op == "const" and node.op != "divide":
        x, constant = constant, x
    if x.op == "const" or constant.op != "const" or x.shape != node.shape:
        return None
    turned = constant is node.inputs[0]
    value = constant.weights["value"].astype(np.float64)
    value = value.reshape((1,) * (len(node.shape) - value.ndim) + value.shape)
    with np.errstate(divide="ignore"):
        scale, shift = _parts(node.op, value, turned)
    return Affine(node, x, scale, shift) if np.isfinite([scale.sum(), shift.sum()]).all() else None


def _parts(op: str, value: Array, turned: bool) -> tuple[Array, Array]:
    """Of x and a constant, or, where ``turned``, of the constant and x."""
    one = np.ones((1,) * value.ndim)
    if op == "multiply":
        return value, 0 * one
    if op == "divide":
        return 1 / value, 0 * one
    if op == "subtract":
        return (-one, value) if turned else (one, -value)
    return one, value
