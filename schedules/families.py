"""Importing this module registers every operator family that ships with the project."""

from schedules import (
    conv2d,
    conv2d_winograd,
    depthwise,
    depthwise_nchw,
    mbconv,
    mbconv_whole,
    pconv,
    pointwise_nchw,
    pool,
    transpose,
)

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
