"""TVM without PyTorch, for processes that never use PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_torch() -> Iterator[None]:
    """Imports within do as if PyTorch were not installed, unless it has been imported already.

    ``tvm_ffi`` imports it when it can, for the sake of a Windows problem; that takes longer than
    TVM itself. Whoever imports PyTorch after TVM has its symbols in another order than usual.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]  # scipy, should an algorithm use it, stumbles over the None
