"""Importing this module registers every operator family that ships with the project."""

from schedules import conv2d, depthwise, pconv, pool

__all__ = ["conv2d", "depthwise", "pconv", "pool"]
