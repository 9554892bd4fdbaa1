"""Load and run a bundle: libtvm_flow (``c/``) and, over it, this package for Python.

The C library is all that runs a network; programs in other languages use it directly. The package
needs nothing but the standard library of any Python from 3.6 on. With NumPy, inputs and outputs are
arrays, without they are memory views; Pillow reads pictures other than .ppm. It is copied into
every bundle as it is (``python/tvm_flow``). It therefore imports nothing else of tvm-flow but
:mod:`tvm_flow.support.errors`.
"""

from tvm_flow.runtime.arrays import TensorSpec
from tvm_flow.runtime.bundle import Bundle, load
from tvm_flow.runtime.timing import Timing, summarise
from tvm_flow.support.errors import TvmFlowError

__all__ = ["Bundle", "TensorSpec", "Timing", "TvmFlowError", "load", "summarise"]
