#!/usr/bin/env python3
"""Classify a file by C functions alone, as from any language: foreign.py BUNDLE FILE.

Nothing of tvm-flow's is imported; the library and its header in the bundle are all there is.
"""

import ctypes
import sys

if len(sys.argv) != 3:
    sys.exit(__doc__)
bundle, path = sys.argv[1:]
c = ctypes.CDLL(bundle + "/lib/libtvm_flow.so")
c.tvmf_last_error.restype = ctypes.c_char_p
c.tvmf_output.restype = ctypes.POINTER(ctypes.c_float)


class TensorInfo(ctypes.Structure):
    """``tvmf_tensor_info`` of tvm_flow.h."""

    _fields_ = [
        ("name", ctypes.c_char_p), ("layout", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_uint64)), ("dimensions", ctypes.c_int32),
        ("type", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("bytes", ctypes.c_uint64),
    ]  # fmt: skip


def require(status: int) -> None:
    if status:
        sys.exit("error: " + c.tvmf_last_error().decode())


model, net, info = ctypes.c_void_p(), ctypes.c_void_p(), TensorInfo()
require(c.tvmf_load(bundle.encode(), 0, ctypes.byref(model)))
require(c.tvmf_open(model, None, ctypes.byref(net)))
require(c.tvmf_read_input(net, 0, path.encode()))
require(c.tvmf_run(net))
require(c.tvmf_output_info(net, 0, ctypes.byref(info)))
scores = c.tvmf_output(net, 0)[: info.bytes // 4]
print(max(range(len(scores)), key=scores.__getitem__), max(scores))
c.tvmf_close(net)
c.tvmf_unload(model)
