"""Operators that ONNX's reference evaluator computes otherwise than ONNX defines them.

The evaluator finds a class by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv_transpose import ConvTranspose as _ConvTranspose
from onnx.reference.ops.op_max_pool import MaxPool as _MaxPool
from onnx.reference.ops.op_scatter_elements import ScatterElements as _ScatterElements


class BatchNormalization(OpRun):
    """Inference at every version, but where ``training_mode`` says otherwise: the evaluator's own
    mixes in batch statistics before 14."""

    op_domain = ""

    def _run(self, x: np.ndarray, *parameters: np.ndarray, **attrs: Any) -> tuple[np.ndarray, ...]:
        column = (-1,) + (1,) * (x.ndim - 2)
        scale, bias, mean, variance = parameters
        running: list[np.ndarray] = []
        if attrs.get("training_mode"):
            axes, kept = tuple(a for a in range(x.ndim) if a != 1), attrs["momentum"]
            old, (mean, variance) = (mean, variance), (x.mean(axes), x.var(axes))
            running = [
                (before * kept + now * (1 - kept)).astype(x.dtype)
                for before, now in zip(old, (mean, variance), strict=True)
            ][: len(self.output) - 1]
        centred = x - mean.reshape(column)
        standard = centred / np.sqrt(variance.reshape(column) + attrs["epsilon"])
        y = standard * scale.reshape(column) + bias.reshape(column)
        return (y.astype(x.dtype), *running)


class LRN(OpRun):
    """The evaluator's window is off by a channel for even sizes, and cut short at the end."""

    op_domain = ""

    def _run(self, x: np.ndarray, **attrs: Any) -> tuple[np.ndarray]:
        size, channels = attrs["size"], x.shape[1]
        before, after = (size - 1) // 2, size // 2
        squares = x.astype(np.float64) ** 2
        sums = np.stack(
            [squares[:, max(c - before, 0) : c + after + 1].sum(1) for c in range(channels)], 1
        )
        factor = (attrs["bias"] + attrs["alpha"] / size * sums) ** attrs["beta"]
        return ((x / factor).astype(x.dtype),)


class _Flattening(OpRun):
    """Before operator set 13: over all axes from ``axis`` on at once; the evaluator takes one."""

    op_domain = ""

    def _run(self, x: np.ndarray, **_attrs: Any) -> tuple[np.ndarray]:
        version = self.run_params["opsets"][""]
        # what the evaluator passes for an attribute that is not there is today's default
        given = [a.i for a in self.onnx_node.attribute if a.name == "axis"]
        axis = given[0] if given else (-1 if version >= 13 else 1)
        if version >= 13:
            turned = np.moveaxis(x, axis, -1)
            return (np.moveaxis(self.of_rows(turned), -1, axis).astype(x.dtype),)
        rows = x.reshape(int(np.prod(x.shape[: axis % x.ndim])), -1)
        return (self.of_rows(rows).reshape(x.shape).astype(x.dtype),)

    def of_rows(self, x: np.ndarray) -> np.ndarray:
        """The operator over the last axis."""
        raise NotImplementedError


class Softmax(_Flattening):
    def of_rows(self, x: np.ndarray) -> np.ndarray:
        powers = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)


class LogSoftmax(_Flattening):
    def of_rows(self, x: np.ndarray) -> np.ndarray:
        shifted = x.astype(np.float64) - x.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


class Hardmax(_Flattening):
    def of_rows(self, x: np.ndarray) -> np.ndarray:
        return np.eye(x.shape[-1])[x.argmax(-1)]


class ConvTranspose(_ConvTranspose):
    """The evaluator mixes groups up."""

    def _run(
        self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, **attrs: Any
    ) -> tuple[np.ndarray]:
        groups = attrs["group"]
        attrs["group"] = 1
        parts = zip(
            np.split(x, groups, 1),
            np.split(w, groups),
            [None] * groups if bias is None else np.split(bias, groups),
            strict=True,
        )
        made = [super(ConvTranspose, self)._run(*part, **attrs)[0] for part in parts]
        return (np.concatenate(made, 1),)


class MaxPool(_MaxPool):
    """The evaluator is off by a row, or a row short, with ``auto_pad``, and has a second
    implementation for strides of 1, which takes the sides of ``pads`` for one another."""

    def _run(self, x: np.ndarray, **attrs: Any) -> tuple[np.ndarray, ...]:
        mode = attrs["auto_pad"]
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            ones = [1] * (x.ndim - 2)
            attrs["auto_pad"] = "NOTSET"
            attrs["pads"] = same_pads(
                mode, x.shape[2:], attrs["kernel_shape"], attrs["strides"] or ones,
                attrs["dilations"] or ones,
            )  # fmt: skip
        made: tuple[np.ndarray, ...] = self._max_pool(x, **attrs)
        return made


class Scatter(_ScatterElements):
    """The former name, which the evaluator has not."""


def same_pads(
    mode: str,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[int, ...]:
    """``pads`` for ``auto_pad=SAME_UPPER`` or ``SAME_LOWER``: in front of each axis, then behind
    each; they may differ."""
    before, after = [], []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        before.append(less if mode == "SAME_UPPER" else more)
        after.append(more if mode == "SAME_UPPER" else less)
    return (*before, *after)


CORRECTED = (
    BatchNormalization, LRN, Softmax, LogSoftmax, Hardmax, ConvTranspose, MaxPool,
    Scatter,
)  # fmt: skip
