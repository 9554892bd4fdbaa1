"""Small vocabulary for writing vector TIR: loads, stores, constants, bound values.

A vector of width 1 is a scalar throughout, so generators need no special case for tails. Values
have the element type of what they were loaded from; :func:`convert` and :func:`reinterpret` change
it, nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeAlias

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.dtypes import FLOAT32, INT32, DType

#: a TIR expression, or a Python number where TVM takes one
Expr: TypeAlias = Any
#: what reads a value that may be read more than once
Value: TypeAlias = Callable[[], Expr]

#: numbers in a table of :func:`lookup`
LOOKUP_ENTRIES = 32


def dtype_of(source: tirx.Buffer | Expr) -> DType:
    """Element type of a buffer or of a (vector) value."""
    return _element(source.dtype if isinstance(source, tirx.Buffer) else source.ty.dtype)


@cache
def _element(name: str) -> DType:
    return DType(name.partition("x")[0])


def constant(value: float, width: int, dtype: DType) -> Expr:
    """A constant repeated over ``width`` lanes; of an integer type, ``value`` is a whole number."""
    return splat(_number(value, dtype), width)


def f32(value: float, width: int) -> Expr:
    """:func:`constant` for what is computed in fp32 whatever the tensors hold."""
    return constant(value, width, FLOAT32)


def _number(value: float, dtype: DType) -> Expr:
    if dtype.is_float:
        return tirx.FloatImm(dtype, float(value))
    if value != int(value):
        raise ValueError(f"{value} is no {dtype}")
    return tirx.IntImm(dtype, int(value))


def convert(value: Expr, dtype: DType) -> Expr:
    """The same number in every lane as another type: widened, narrowed or rounded towards zero."""
    if dtype_of(value) is dtype:
        return value
    return tirx.Cast(dtype.vector(value.ty.dtype.lanes), value)


def reinterpret(value: Expr, dtype: DType) -> Expr:
    """The same bits as lanes of another type, as many as they fill."""
    size = value.ty.dtype.lanes * dtype_of(value).bytes
    return tirx.reinterpret(dtype.vector(size // dtype.bytes), value)


def splat(scalar: Expr, width: int) -> Expr:
    """One scalar repeated over ``width`` lanes."""
    return scalar if width == 1 else tirx.Broadcast(scalar, width)


def lanes_at(base: Expr | int, width: int) -> Expr:
    """Index of ``width`` consecutive elements."""
    return base if width == 1 else tirx.Ramp(base, 1, width)


def load(buffer: tirx.Buffer, base: Expr | int, width: int) -> Expr:
    """``width`` consecutive elements of a flat buffer."""
    return buffer[lanes_at(base, width)]


def store(buffer: tirx.Buffer, value: Expr, base: Expr | int, width: int) -> None:
    """Store ``width`` consecutive elements into a flat buffer."""
    T.buffer_store(buffer, value, [lanes_at(base, width)])


def prefetch(buffer: tirx.Buffer, base: Expr | int) -> None:
    """Begin to load the cache line of an element; one beyond the end does no harm."""
    address = tirx.address_of(buffer[base])
    hints = [tirx.IntImm("int32", value) for value in (0, 3, 1)]  # to read, into L1, data
    T.evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", address, *hints))


def registers(count: int, dtype: str = FLOAT32) -> tirx.Buffer:
    """A small array that LLVM keeps in registers, of any of TVM's types.

    Without the annotation TVM allocates "local" arrays from the workspace pool, and accumulators
    become memory.
    """
    keep = {"disable_lower_builtin": tirx.IntImm("int32", 1)}
    return T.alloc_buffer((count,), dtype, scope="local", annotations=keep)


def bind(value: Expr, width: int) -> Value:
    """Compute ``value`` once; the result reads it back (from a register after LLVM's mem2reg)."""
    slot = registers(width, dtype_of(value))
    store(slot, value, 0, width)
    return lambda: load(slot, 0, width)


@contextmanager
def loop(low: Expr, high: Expr) -> Iterator[Expr]:
    """A serial loop over ``low <= i < high``, counted from zero.

    TVM's loop canonicalisation does not substitute a loop variable in the bounds of the loops
    inside it, so that a loop which starts elsewhere must not bound another.
    """
    with T.serial(0, high - low) as i:
        yield low + i


def minimum(a: Expr, b: Expr) -> Expr:
    return tirx.Min(a, b)


def maximum(a: Expr, b: Expr) -> Expr:
    return tirx.Max(a, b)


def horner(coefficients: Sequence[Expr], x: Value) -> Expr:
    """A polynomial of x, highest power last in ``coefficients``."""
    y = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        y = y * x() + c
    return y


def constants(values: Sequence[float], dtype: DType = FLOAT32) -> Expr:
    """A vector of different constants."""
    lanes = [_number(value, dtype) for value in values]
    return tirx.Shuffle(lanes, [tirx.IntImm("int32", i) for i in range(len(lanes))])


def lookup(table: Sequence[Expr], index: Expr) -> Expr:
    """For 16 lanes at once, a number of a table in two vectors of constants.

    ``index`` is a vector of floats: only the lowest five bits of each count. One instruction, on
    cores with :attr:`tvm_flow.schedules.cpu.device.Cpu.lookup` only.
    """
    low, high = table
    bits = reinterpret(index, INT32)
    name = "llvm.x86.avx512.vpermi2var.ps.512"
    return tirx.call_llvm_pure_intrin(FLOAT32.vector(LOOKUP_ENTRIES // 2), name, low, bits, high)


def take(vector: Expr, start: int, count: int) -> Expr:
    """Lanes ``start .. start+count`` of a vector expression."""
    return tirx.Shuffle([vector], [tirx.IntImm("int32", start + i) for i in range(count)])


def repeat_lane(vector: Expr, lane: int, width: int) -> Expr:
    """One lane of a vector, repeated over ``width`` lanes."""
    return tirx.Shuffle([vector], [tirx.IntImm("int32", lane)] * width)


def pick(vectors: Sequence[Expr], lanes: Sequence[int | None], width: int) -> Expr:
    """Any lanes of several vectors of ``width`` lanes one after another, in any order, ``width`` of
    them; ``None`` is zero."""
    if list(lanes) == list(range(width)):
        return vectors[0]
    sources = list(vectors)
    if None in lanes:
        sources.append(constant(0, width, dtype_of(vectors[0])))
    order = [width * len(vectors) if lane is None else lane for lane in lanes]
    return tirx.Shuffle(sources, [tirx.IntImm("int32", lane) for lane in order])


def interleave(even: Expr, odd: Expr, width: int) -> Expr:
    """``even[0], odd[0], even[1], odd[1], ...`` as one vector of ``2*width`` lanes."""
    order = [i + half * width for i in range(width) for half in (0, 1)]
    return tirx.Shuffle([even, odd], [tirx.IntImm("int32", i) for i in order])


def interleave_half(even: Expr, odd: Expr, width: int, half: int) -> Expr:
    """The first (``half`` 0) or last (1) ``width`` lanes of :func:`interleave`."""
    first = half * width // 2
    order = [first + i + side * width for i in range(width // 2) for side in (0, 1)]
    return tirx.Shuffle([even, odd], [tirx.IntImm("int32", i) for i in order])


def pieces(count: int, lanes: int) -> list[tuple[int, int]]:
    """Cut ``count`` elements into (offset, width) with power-of-two widths up to ``lanes``.

    Example: 58 elements with 16 lanes are 16, 16, 16, 8, 2.
    """
    result, offset, width = [], 0, lanes
    while offset < count:
        while width > count - offset:
            width //= 2
        result.append((offset, width))
        offset += width
    return result


def for_vectors(count: int, lanes: int, body: Callable[[Expr, int], None]) -> None:
    """``body(offset, width)`` over ``count`` elements, whole vectors in a loop."""
    whole = count // lanes
    if whole > 1:
        with T.serial(0, whole) as v:
            body(v * lanes, lanes)
    elif whole:
        body(tirx.IntImm("int32", 0), lanes)
    for offset, width in pieces(count - whole * lanes, lanes):
        body(tirx.IntImm("int32", whole * lanes + offset), width)


def store_valid(buffer: tirx.Buffer, value: Value, base: Expr, width: int, valid: int) -> None:
    """Store the first ``valid`` lanes of a ``width``-lane value."""
    if valid >= width:
        store(buffer, value(), base, width)
        return
    for offset, part in pieces(valid, width):
        store(buffer, take(value(), offset, part), base + offset, part)


def load_valid(buffer: tirx.Buffer, base: Expr, width: int, valid: int) -> Expr:
    """A ``width``-lane vector whose first ``valid`` lanes are read; the rest are zero."""
    if valid >= width:
        return load(buffer, base, width)
    dtype = dtype_of(buffer)
    slot = registers(width, dtype)
    store(slot, constant(0, width, dtype), 0, width)
    for offset, part in pieces(valid, width):
        store(slot, load(buffer, base + offset, part), offset, part)
    return load(slot, 0, width)
