"""Load, check and run a bundle with nothing but NumPy and TVM's runtime library.

This package is copied into every bundle as it is (``python/tvm_flow/runtime``), which is how
``run.py`` works on a board where tvm-flow is not installed. It therefore imports only the
standard library, NumPy, :mod:`tvm_flow.errors` and, for pictures, Pillow.
"""

from __future__ import annotations

from tvm_flow.runtime.inputs import load_input, top_k
from tvm_flow.runtime.manifest import Manifest, TensorSpec
from tvm_flow.runtime.session import Bundle, CheckReport, check, load, run_image
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
