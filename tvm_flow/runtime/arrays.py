"""Tensors in the library's memory, as NumPy arrays where there is NumPy, else as memory views."""

import ctypes

from tvm_flow.runtime.library import Library, TensorInfo
from tvm_flow.support.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Set to false by programs that have no use for arrays: importing NumPy takes 15 MiB and 0.1 s.
numpy_wanted = True
_tried: "list[Any]" = []


def numpy() -> "Any":
    """NumPy, imported when first needed, or ``None``."""
    if numpy_wanted and not _tried:
        try:
            import numpy as found  # noqa: PLC0415

            _tried.append(found)
        except Exception:  # not installed, or not for this Python: it is not needed
            _tried.append(None)
    return _tried[0] if numpy_wanted else None


_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 6: "bool"}
#: Format characters of the buffer protocol by type; types without one are seen as bytes.
_FORMATS = {
    "int8": "b", "uint8": "B", "bool": "?", "int16": "h", "uint16": "H", "int32": "i",
    "uint32": "I", "int64": "q", "uint64": "Q", "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip


class TensorSpec:
    """What an input or output is: ``name``, ``shape``, ``dtype`` as NumPy names it, ``layout`` such
    as ``"NCHW"`` (empty where it says nothing), ``bytes``."""

    def __init__(self, info: TensorInfo) -> None:
        self.name = info.name.decode(errors="replace")
        self.layout = info.layout.decode(errors="replace")
        self.shape = tuple(int(info.shape[i]) for i in range(info.dimensions))
        kind = _KINDS.get(info.type, "unknown")
        self.dtype = kind if kind == "bool" else f"{kind}{info.bits}"
        self.bytes = int(info.bytes)

    def __repr__(self) -> str:
        return f"TensorSpec({self.name!r}, {self.shape}, {self.dtype!r})"


def specs(
    library: Library, count: int, describe: "Callable[..., int]", instance: int
) -> "list[TensorSpec]":
    found = []
    for index in range(count):
        info = TensorInfo()
        library.require(describe(instance, index, ctypes.byref(info)))
        found.append(TensorSpec(info))
    return found


def view(spec: TensorSpec, address: int, owner: "Any") -> "Any":
    """The memory at ``address``; it keeps ``owner`` alive."""
    memory = (ctypes.c_char * spec.bytes).from_address(address)
    memory.owner = owner  # type: ignore[attr-defined]
    return _shaped(spec, memory)


def copied(seen: "Any") -> "Any":
    """A copy of a :func:`view`."""
    if not isinstance(seen, memoryview):
        return seen.copy()
    flat: Any = memoryview(bytearray(seen))
    if seen.format == "B" and seen.ndim == 1:
        return flat
    return _cast(flat, seen.format, seen.shape or ())


def _shaped(spec: TensorSpec, memory: "Any") -> "Any":
    found = numpy()
    if found is not None:
        dtype = spec.dtype if spec.dtype in _FORMATS else f"uint{8 * _width(spec)}"
        return found.frombuffer(memory, dtype=dtype).reshape(spec.shape)
    flat: Any = memoryview(memory).cast("B")
    if not spec.bytes or spec.dtype not in _FORMATS:
        return flat
    return _cast(flat, _FORMATS[spec.dtype], spec.shape)


def _cast(flat: "Any", kind: str, shape: "tuple[int, ...]") -> "Any":
    """Bytes as elements of a format; a scalar stays a row of one."""
    return flat.cast(kind, shape) if shape else flat.cast(kind)


def _width(spec: TensorSpec) -> int:
    """Bytes of an element."""
    count = 1
    for extent in spec.shape:
        count *= extent
    return spec.bytes // count if count else 1


def fill(spec: TensorSpec, address: int, value: "Any") -> None:
    """Copy ``value`` to ``address``: a NumPy array or what NumPy makes one of (lists, tensors of
    PyTorch), or anything with the buffer protocol. Raises :class:`UsageError` for another shape
    or type."""
    found = numpy()
    if found is not None:
        _fill_from_array(found, spec, address, value)
        return
    try:
        given: Any = memoryview(value)
    except TypeError:
        raise UsageError(
            f"input {spec.name} is a {type(value).__name__}",
            why="without NumPy an input must have the buffer protocol",
            fix="pass an array.array or bytes, or install NumPy",
        ) from None
    shape = given.shape if given.ndim > 1 else spec.shape
    typed = given.format in ("B", "b", "c") or given.format.lstrip("<=@") == _FORMATS.get(
        spec.dtype
    )
    if given.nbytes != spec.bytes or tuple(shape) != spec.shape or not typed:
        raise _unfit(spec, tuple(given.shape), given.format)
    content = bytes(given) if not given.c_contiguous else given
    source = (ctypes.c_char * spec.bytes).from_buffer_copy(content)
    ctypes.memmove(address, source, spec.bytes)


def _fill_from_array(found: "Any", spec: TensorSpec, address: int, value: "Any") -> None:
    if isinstance(value, (bytes, bytearray, memoryview)) and memoryview(value).ndim == 1:
        if memoryview(value).nbytes != spec.bytes:
            raise _unfit(spec, (memoryview(value).nbytes,), "bytes")
        ctypes.memmove(address, bytes(value), spec.bytes)
        return
    try:
        plain = isinstance(value, (list, tuple, int, float))
        array = found.asarray(value, dtype=spec.dtype if plain else None)
    except Exception as error:  # whatever the object's own conversion raises
        raise UsageError(
            f"input {spec.name} is a {type(value).__name__} that NumPy makes no array of",
            why=str(error),
            fix=f"pass a NumPy array of shape {spec.shape} and type {spec.dtype}",
        ) from None
    if array.shape != spec.shape or str(array.dtype) != spec.dtype:
        raise _unfit(spec, array.shape, str(array.dtype))
    found.copyto(view(spec, address, None), array)


def _unfit(spec: TensorSpec, shape: "tuple[int, ...]", dtype: str) -> UsageError:
    return UsageError(
        f"input {spec.name} has shape {shape} and type {dtype}",
        why=f"the bundle was compiled for {spec.shape} and {spec.dtype}",
        fix="convert it, or compile for its shape with --input",
    )
