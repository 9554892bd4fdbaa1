"""What becomes of Relax's interpolation of images."""

from __future__ import annotations

from typing import Any

from tvm_flow.ir.graph import Node
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.operators.resize import CUBIC_ALPHA, MODES, ROUNDINGS, Axis

_METHODS = {"nearest_neighbor": "nearest", "linear": "linear", "cubic": "cubic"}


def resized(x: Node, shape: tuple[int, ...], attrs: Any) -> Node | None:
    """The node of a ``relax.image.resize2d`` call with these attributes; ``None`` for those that
    no kernel computes."""
    method, mode = _METHODS.get(str(attrs.method)), str(attrs.coordinate_transformation_mode)
    rounding = "none"
    if method == "nearest":
        rounding = str(attrs.rounding_method) or ("round" if mode == "align_corners" else "floor")
        if rounding == "round" and not any(map(_has_ties, x.shape[2:], shape[2:], [mode] * 2)):
            rounding = "round_prefer_ceil"
        if rounding not in ROUNDINGS:
            return None
    usual = method != "cubic" or (
        abs(float(attrs.cubic_alpha) - CUBIC_ALPHA) < 1e-6 and not int(attrs.cubic_exclude)
    )
    plain = x.dtype == FLOAT32 and attrs.layout == "NCHW" and mode in MODES and usual
    if method is None or not plain:
        return None
    return Node("resize", [x], shape, {"method": method, "mode": mode, "rounding": rounding})


def _has_ties(old: int, new: int, mode: str) -> bool:
    """Whether an output stands for the middle between two elements, of which Relax's "round" means
    the even one."""
    axis = Axis(old, new, "nearest", mode, "floor")
    return any(2 * rest == over for rest, over in map(axis.rest, range(new)))
