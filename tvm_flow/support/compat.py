"""The one place for TVM names that move between releases, and for what TVM does too slowly.

The project's kernels and passes use ``tvm.tirx``, ``tvm.relax`` and ``tvm.ir``, which are the
public dialects; what lies at less settled places is imported from here.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tvm.target.codegen import llvm_get_targets as llvm_targets

__all__ = ["fast_getmodule", "fast_tensor_intrin", "llvm_targets"]


def _module_of(thing: Any, _filename: str | None = None) -> ModuleType | None:
    """``inspect.getmodule`` without its scan of ``sys.modules``.

    Only objects that do not say where they come from (code objects) would need the scan; without
    it the callers of ``getmodule`` in ``inspect`` use the file name instead, with the same result.
    """
    if inspect.ismodule(thing):
        return thing
    if inspect.istraceback(thing):
        thing = thing.tb_frame
    if inspect.isframe(thing):
        return sys.modules.get(thing.f_globals.get("__name__", ""))
    name = getattr(thing, "__module__", None)
    return sys.modules.get(name) if isinstance(name, str) else None


@contextmanager
def fast_getmodule() -> Iterator[None]:
    """Within the block, ``inspect.getmodule`` costs O(1) instead of O(loaded modules).

    The TVMScript parser calls it some 26,000 times per import of the tensor intrinsics, each time
    walking all of ``sys.modules`` (2,000 with torch). Restores the previous function, whatever it
    was.
    """
    previous = inspect.getmodule
    inspect.getmodule = _module_of  # type: ignore[assignment]  # `object` shadows a builtin
    try:
        yield
    finally:
        inspect.getmodule = previous


def fast_tensor_intrin() -> None:
    """Import ``tvm.s_tir.tensor_intrin`` in about 3 CPU seconds instead of 20 to 40.

    Call it before anything that imports that module, such as MetaSchedule's ``TuneContext``.
    """
    with fast_getmodule():
        importlib.import_module("tvm.s_tir.tensor_intrin")
