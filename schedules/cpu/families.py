"""Importing this module registers every operator family that ships with the project."""

from tvm_flow.schedules.cpu.ops import pooling as pool
from tvm_flow.schedules.cpu.ops import transpose
from tvm_flow.schedules.cpu.ops.conv2d import (
    direct as conv2d,
)
from tvm_flow.schedules.cpu.ops.conv2d import (
    pointwise_nchw,
)
from tvm_flow.schedules.cpu.ops.conv2d import (
    winograd as conv2d_winograd,
)
from tvm_flow.schedules.cpu.ops.depthwise import nchw as depthwise_nchw
from tvm_flow.schedules.cpu.ops.depthwise import nhwc as depthwise
from tvm_flow.schedules.cpu.ops.mbconv import rows as mbconv
from tvm_flow.schedules.cpu.ops.mbconv import whole as mbconv_whole
from tvm_flow.schedules.cpu.ops.pconv import family as pconv

__all__ = [
    "conv2d",
    "conv2d_winograd",
    "depthwise",
    "depthwise_nchw",
    "mbconv",
    "mbconv_whole",
    "pconv",
    "pointwise_nchw",
    "pool",
    "transpose",
]
