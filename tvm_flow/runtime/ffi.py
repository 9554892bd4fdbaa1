"""Modules and functions of TVM's, called through its C interface.

The Python package ``tvm_ffi`` does this and much more that running a network has no use for, at the
price of memory and of time to start (decision 0019). Where ``tvm_ffi`` is imported too, both use
one and the same library; objects of one cannot be passed to functions of the other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import byref, c_int32, c_void_p
from os import PathLike
from typing import Any

import numpy as np

from tvm_flow.runtime import c_api
from tvm_flow.runtime.c_api import Object, TvmError
from tvm_flow.runtime.tensors import array_of, tensor_of

__all__ = ["Call", "Function", "Module", "Object", "TvmError", "global_function", "load_module"]


class Function(Object):
    """A function of TVM's. Arguments and results are ``None``, ``bool``, ``int``, ``str``, NumPy
    arrays, sequences of these (returned as tuples), modules and functions. Arrays are not copied.

    Calling it raises :class:`TvmError`, and ``TypeError`` for values of other types.
    """

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        return Call(self, arguments)()

    def bound(self, *arguments: Any) -> Call:
        """The call with these arguments, to be made many times: they are converted once, and
        arrays passed with what they contain at the time. Raises ``TypeError``."""
        return Call(self, arguments)


class Module(Object):
    """A module of TVM's: a loaded library, or the virtual machine of a network."""

    __slots__ = ()

    def implements_function(self, name: str, query_imports: bool = False) -> bool:
        """Whether it, or with ``query_imports`` a module that it imports, has this function."""
        return bool(global_function("ffi.ModuleImplementsFunction")(self, name, query_imports))

    def get_function(self, name: str, query_imports: bool = False) -> Function:
        """Its function of this name. Raises ``AttributeError``."""
        found = global_function("ffi.ModuleGetFunction")(self, name, query_imports)
        if not isinstance(found, Function):
            raise AttributeError(f"the module has no function {name}")
        return found

    def __getitem__(self, name: str) -> Function:
        return self.get_function(name)


class Call:
    """A function with its arguments: see :meth:`Function.bound`. May be made from several threads
    at a time if the function may."""

    __slots__ = ("_arguments", "_count", "_function", "_invoke", "_kept", "_slots", "_take")

    def __init__(
        self,
        function: Function,
        arguments: Sequence[Any],
        take: Callable[[c_api.Any], Any] | None = None,
    ) -> None:
        self._invoke, self._take = c_api.load().TVMFFIFunctionCall, take or _taken
        self._slots = (c_api.Any * len(arguments))()
        self._kept = (function, list(map(_fill, self._slots, arguments)))
        # as C has them, so that nothing is converted in a call
        self._function, self._count = c_void_p(function.handle), c_int32(len(arguments))
        self._arguments = ctypes.cast(self._slots, c_void_p)

    def __call__(self) -> Any:
        result = c_api.Any()
        if self._invoke(self._function, self._arguments, self._count, byref(result)):
            raise c_api.raised()
        return self._take(result)


def load_module(path: PathLike[str] | str) -> Module:
    """The module in a library, which is unloaded after the last object made by it. Raises
    :class:`TvmError`."""
    module = global_function("ffi.ModuleLoadFromFile")(str(path))
    assert isinstance(module, Module)
    return module


def global_function(name: str) -> Function:
    """A function that TVM registered under this name. Raises :class:`TvmError`."""
    handle = c_void_p()
    if c_api.load().TVMFFIFunctionGetGlobal(byref(c_api.Bytes.of(name)), byref(handle)):
        raise c_api.raised()
    if not handle.value:
        raise TvmError("ValueError", f"TVM has no function {name}")
    return Function(handle.value)


def _fill(slot: c_api.Any, value: Any) -> Object | None:
    """Make ``slot`` stand for ``value``, or for an object, which has to live as long."""
    if value is None:
        return None
    if isinstance(value, int):
        slot.type_index = c_api.BOOL if isinstance(value, bool) else c_api.INT
        slot.integer = value
        return None
    if isinstance(value, str):
        if c_api.load().TVMFFIStringFromByteArray(byref(c_api.Bytes.of(value)), byref(slot)):
            raise c_api.raised()
        return Object(slot.pointer) if slot.type_index == c_api.STRING else None
    if isinstance(value, np.ndarray):
        value = tensor_of(value)
    elif isinstance(value, list | tuple):
        value = Call(global_function("ffi.Array"), value, lambda array: Object(array.pointer))()
    elif not isinstance(value, Object):
        raise TypeError(f"TVM takes no {type(value).__name__}")
    slot.type_index = c_api.Header.from_address(value.handle).type_index
    slot.pointer = value.handle
    return value


def _taken(result: c_api.Any) -> Any:
    """The value of ``result``, whose reference to an object is taken over."""
    kind = result.type_index
    if kind == c_api.TENSOR:
        return array_of(result.pointer)
    if kind >= c_api.OBJECTS:
        return _content(Object(result.pointer), kind)
    if kind == c_api.NONE:
        return None
    if kind in (c_api.INT, c_api.BOOL):
        return bool(result.integer) if kind == c_api.BOOL else result.integer
    if kind == c_api.SMALL_STRING:
        return bytes(result)[8 : 8 + result.length].decode(errors="replace")
    raise TypeError(f"TVM returned a value of type {kind}")


def _content(owner: Object, kind: int) -> Any:
    if kind == c_api.STRING:
        return str(c_api.String.from_address(owner.handle).content)
    if kind == c_api.ARRAY:
        array = c_api.Array.from_address(owner.handle)
        items = (c_api.Any * array.size).from_address(array.items)
        return tuple(_taken(_shared(item)) for item in items)
    if kind in _CLASSES:
        c_api.load().TVMFFIObjectIncRef(owner.handle)
        return _CLASSES[kind](owner.handle)
    raise TypeError(f"TVM returned an object of type {kind}")


_CLASSES: dict[int, type[Object]] = {c_api.FUNCTION: Function, c_api.MODULE: Module}


def _shared(item: c_api.Any) -> c_api.Any:
    """The same with a reference of its own."""
    if item.type_index >= c_api.OBJECTS:
        c_api.load().TVMFFIObjectIncRef(item.pointer)
    return item
