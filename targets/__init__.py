"""Boards tvm-flow compiles for: one TOML file each, and ``native``, which is detected.

This package imports neither TVM nor torch, so it can be used on the board itself.
"""

from tvm_flow.targets.board import NATIVE, Board, Cluster, Gpu, TargetFileError
from tvm_flow.targets.loader import load, names, read

__all__ = ["NATIVE", "Board", "Cluster", "Gpu", "TargetFileError", "load", "names", "read"]
