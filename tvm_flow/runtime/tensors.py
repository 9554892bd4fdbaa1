"""Arrays as TVM's tensors and back, without a copy: each keeps the other's memory alive."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from ctypes import byref, c_char, c_char_p, c_void_p
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.runtime import c_api

_CPU = 1  # DLDevice of type kDLCPU with id 0, read as one number
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}  # DLDataTypeCode -> NumPy's letter
_tensor_at, _ndarray = c_api.Tensor.from_address, np.ndarray
_DLPACK, _TAKEN = b"dltensor", b"used_dltensor"  # names of capsules, which keep the pointer

# Own prototypes: the functions of ctypes.pythonapi are shared by all packages of a process.
_capsule_pointer = ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_rename_capsule = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, c_char_p)(
    ("PyCapsule_SetName", ctypes.pythonapi)
)


def tensor_of(array: NDArray[Any]) -> c_api.Object:
    """A tensor over the array's memory, and a reference to the array with it. Raises
    :class:`TvmError`, and ``BufferError`` for types that have no place in DLPack."""
    capsule, handle = array.__dlpack__(), c_void_p()
    managed = _capsule_pointer(capsule, _DLPACK)
    if c_api.load().TVMFFITensorFromDLPack(managed, 0, 0, byref(handle)):
        raise c_api.raised()
    _rename_capsule(capsule, _TAKEN)
    return c_api.Object(handle.value or 0)


def array_of(handle: int) -> NDArray[Any]:
    """An array over the memory of the tensor, and the given reference to the tensor with it.

    What TVM's functions return is contiguous. Raises ``TypeError`` for a tensor on a device or of
    a type that NumPy lacks.
    """
    tensor = _tensor_at(handle)
    kind = tensor.kind
    try:
        shape, dtype, memory = _layout(tensor.device, kind, _sizes_at(kind & 255)(tensor.shape).raw)
    except TypeError:
        c_api.Object(handle)  # gives the reference back
        raise
    owner = memory(tensor.data + tensor.offset)
    owner.handle = handle
    return _ndarray(shape, dtype, owner)


@cache
def _sizes_at(dimensions: int) -> Callable[[int], Any]:
    """What makes the shape at an address a buffer."""
    return (c_char * (8 * dimensions)).from_address


@cache
def _layout(
    device: int, kind: int, sizes: bytes
) -> tuple[tuple[int, ...], np.dtype[Any], Callable[[int], Any]]:
    """Shape and type of a tensor, and what makes its memory at an address a buffer."""
    code, bits, lanes = kind >> 32 & 255, kind >> 40 & 255, kind >> 48
    if device != _CPU or code not in _KINDS or bits % 8 or lanes != 1:
        raise TypeError(f"TVM returned a tensor of type {kind:#x} on device {device:#x}")
    shape, dtype = tuple(memoryview(sizes).cast("q")), np.dtype(f"{_KINDS[code]}{bits // 8}")
    release = c_api.load().TVMFFIObjectDecRef

    class Memory(ctypes.Structure):
        _fields_ = (("content", c_char * (math.prod(shape) * dtype.itemsize)),)
        __slots__ = ("handle",)

        def __del__(self) -> None:
            release(self.handle)

    return shape, dtype, Memory.from_address
