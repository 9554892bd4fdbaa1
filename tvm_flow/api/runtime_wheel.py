"""``runtime-wheel``: the Python package that runs bundles, for a board."""

from __future__ import annotations

from pathlib import Path

from tvm_flow.api.boards import board_of, libc_of
from tvm_flow.api.values import TargetLike
from tvm_flow.boards.runtime_wheel import write_runtime_wheel


def runtime_wheel(target: TargetLike, *, output: str | Path = ".", libc: str | None = None) -> Path:
    """Write a wheel with the package ``tvm_flow`` as bundles have it: :func:`tvm_flow.load` and
    libtvm_flow, for any Python from 3.6 on, with any NumPy or none.

    Parameters
    ----------
    target: a board; see ``tvm-flow targets``.
    output: folder to write it into.
    libc: ``"musl"``, or the oldest version of glibc it is for; by default the board's.

    Returns its path. Raises :class:`TargetError`, :class:`UsageError`, :class:`CompileError`, and
    :class:`EnvironmentFault` without a C compiler for the board.
    """
    return write_runtime_wheel(board_of(target, None), Path(output), libc_of(libc))
