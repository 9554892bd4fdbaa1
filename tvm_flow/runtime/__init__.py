"""Load, check and run a bundle with nothing but NumPy and TVM's runtime library.

This package is copied into every bundle as it is (``python/tvm_flow/runtime``), which is how
``run.py`` works on a board where tvm-flow is not installed. It therefore imports only the
standard library, NumPy, :mod:`tvm_flow.support.errors` and, for pictures, Pillow.

A process that loads and runs a small network consists mostly of what it imports. So what is only
needed for other things is imported when it is used, and loading does without ``hashlib``,
``pathlib`` and ``dataclasses``: with all that they import in turn these take over 4 MiB.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm_flow.runtime.bundle import Bundle, load
    from tvm_flow.runtime.inputs import load_input, top_k
    from tvm_flow.runtime.manifest import Manifest, TensorSpec
    from tvm_flow.runtime.sample import CheckReport, check, run_image
    from tvm_flow.runtime.stats import Timing, max_rel_error, summarise, worst_rel_error

__all__ = [
    "Bundle",
    "CheckReport",
    "Manifest",
    "TensorSpec",
    "Timing",
    "check",
    "load",
    "load_input",
    "max_rel_error",
    "run_image",
    "summarise",
    "top_k",
    "worst_rel_error",
]

_MODULES = {
    "inputs": ("load_input", "top_k"),
    "manifest": ("Manifest", "TensorSpec"),
    "sample": ("CheckReport", "check", "run_image"),
    "bundle": ("Bundle", "load"),
    "stats": ("Timing", "max_rel_error", "summarise", "worst_rel_error"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
