"""TVM's C interface as ctypes sees it: its library, the layouts of its values, its errors.

All of it is from ``tvm/ffi/c_api.h`` and ``dlpack/dlpack.h``. Only 64-bit little-endian machines:
that is what bundles are made for.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from ctypes import byref, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from functools import cache

from tvm_flow.support.errors import EnvironmentFault

# TVMFFITypeIndex
NONE, INT, BOOL, SMALL_STRING = 0, 1, 2, 11
OBJECTS, STRING, FUNCTION, TENSOR, ARRAY, MODULE = 64, 65, 68, 70, 71, 73


class TvmError(RuntimeError):
    """TVM reported an error: its message, and as ``kind`` the name TVM gives it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Value(ctypes.Union):
    _fields_ = (("integer", c_int64), ("pointer", c_uint64))


class Any(ctypes.Structure):
    """``TVMFFIAny``: a value, which of a short string is the text, or an object."""

    _anonymous_ = ("value",)
    _fields_ = (("type_index", c_int32), ("length", c_uint32), ("value", _Value))


class Header(ctypes.Structure):
    """``TVMFFIObject``: what every object begins with."""

    _fields_ = (("references", c_uint64), ("type_index", c_int32), ("deleter", c_void_p))


class Bytes(ctypes.Structure):
    """``TVMFFIByteArray``, in which TVM has text as UTF-8."""

    _fields_ = (("data", c_void_p), ("size", c_uint64))
    source: bytes

    @classmethod
    def of(cls, text: str) -> Bytes:
        source = text.encode()
        made = cls(ctypes.cast(ctypes.c_char_p(source), c_void_p), len(source))
        made.source = source  # to live as long
        return made

    def __str__(self) -> str:
        return ctypes.string_at(self.data, self.size).decode(errors="replace")


class String(ctypes.Structure):
    _fields_ = (("header", Header), ("content", Bytes))


class Error(ctypes.Structure):
    _fields_ = (("header", Header), ("kind", Bytes), ("message", Bytes))


class Array(ctypes.Structure):
    _fields_ = (("header", Header), ("items", c_uint64), ("size", c_int64))


class Tensor(ctypes.Structure):
    """An object with a ``DLTensor``."""

    _fields_ = (
        ("header", Header),
        ("data", c_uint64),
        ("device", c_uint64),
        ("kind", c_uint64),  # the number of dimensions and the type
        ("shape", c_uint64),
        ("strides", c_uint64),
        ("offset", c_uint64),
    )


def load_library(package: str, name: str) -> ctypes.CDLL:
    """A library of an installed package, which is not imported. If it is already loaded, by the
    package itself for example, it is that one. Raises :class:`EnvironmentFault`."""
    distribution = f"apache-{package.replace('_', '-')}"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        fix = f"pip install {distribution}"
        raise EnvironmentFault(f"{distribution} is not installed", fix=fix)
    path = os.path.join(spec.submodule_search_locations[0], "lib", name)
    try:
        return ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
    except OSError as error:
        fix = f"reinstall {distribution}"
        raise EnvironmentFault(f"cannot load {path}", why=str(error), fix=fix) from error


@cache
def load() -> ctypes.CDLL:
    """The library with the C interface, loaded when first needed. Raises
    :class:`EnvironmentFault`."""
    library = load_library("tvm_ffi", "libtvm_ffi.so")
    for name in ("TVMFFIObjectDecRef", "TVMFFIObjectIncRef"):
        getattr(library, name).argtypes = (c_void_p,)
    library.TVMFFITensorFromDLPack.argtypes = (c_void_p, c_int32, c_int32, c_void_p)
    return library


class Object:
    """Owns one reference to an object of TVM's."""

    __slots__ = ("_release", "handle")

    def __init__(self, handle: int) -> None:
        self._release = load().TVMFFIObjectDecRef  # at hand while the interpreter shuts down, too
        self.handle = handle

    def __del__(self) -> None:
        self._release(self.handle)


def raised() -> TvmError:
    """The error behind the failure of this thread's last call."""
    handle = c_void_p()
    load().TVMFFIErrorMoveFromRaised(byref(handle))
    if not handle.value:
        return TvmError("RuntimeError", "TVM failed and does not tell why")
    owner = Object(handle.value)
    error = Error.from_address(owner.handle)
    return TvmError(str(error.kind), str(error.message))
