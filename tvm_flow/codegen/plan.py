"""``main`` of a Relax module, lowered to calls with explicit outputs -> a plan of those calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

from tvm_flow.codegen.arena import Lifetime, place_in_arena
from tvm_flow.codegen.constants import ALIGNMENT, Array, offsets_of
from tvm_flow.ir.plan import Place, Plan, PlannedKernel, PlannedTensor, Step
from tvm_flow.support.errors import CompileError


@dataclass
class _Memory:
    """What one or several tensors lie in. ``number``: which input, output or weight it is."""

    size: int
    place: Place
    number: int = 0
    first: int = 0
    last: int = 0
    written: bool = False


def make_plan(mod: tvm.IRModule, inputs: int, weights: Sequence[Array]) -> tuple[Plan, list[Array]]:
    """The plan of ``mod["main"]``, whose first ``inputs`` parameters are inputs and the rest the
    ``weights``; and the weights with those that were constants of calls.

    Raises :class:`CompileError` for what a plan cannot say.
    """
    planner = _Planner(mod, weights)
    return planner.plan(inputs), planner.weights


class _Planner:
    def __init__(self, mod: tvm.IRModule, weights: Sequence[Array]) -> None:
        self.mod, self.weights = mod, list(weights)
        self.memory: dict[relax.Var, _Memory] = {}
        self.tuples: dict[relax.Var, list[Any]] = {}
        self.memories: list[_Memory] = []
        self.constants: dict[Any, _Memory] = {}
        self.kernels: dict[str, PlannedKernel] = {}
        #: (symbol or None, [(memory, shape, dtype)])
        self.calls: list[tuple[str | None, list[tuple[_Memory, tuple[int, ...], str]]]] = []

    def plan(self, inputs: int) -> Plan:
        main = self.mod["main"]
        for number, parameter in enumerate(main.params):
            place = Place.INPUT if number < inputs else Place.WEIGHTS
            made = self._new(parameter, place, number - (inputs if number >= inputs else 0))
            made.written = True
        for block in main.body.blocks:
            for binding in block.bindings:
                self._bind(binding.var, binding.value)
        body = main.body.body
        results = self._fields(body) or [body]
        given = [(self.memory[var], *_type(var)) for var in main.params[:inputs]]
        return self._finish(given, [self._as_output(n, r) for n, r in enumerate(results)])

    def _new(self, var: relax.Var, place: Place, number: int = 0) -> _Memory:
        made = _Memory(_bytes(*_type(var)), place, number)
        self.memory[var] = made
        self.memories.append(made)
        return made

    def _fields(self, value: Any) -> list[Any]:
        """Of a tuple, nested ones flat; nothing of a tensor."""
        if isinstance(value, relax.Var):
            return self.tuples.get(value, [])
        if not isinstance(value, relax.Tuple):
            return []
        return [field for item in value.fields for field in self._fields(item) or [item]]

    def _bind(self, var: relax.Var, value: Any) -> None:
        if isinstance(value, relax.TupleGetItem):
            value = self.tuples[value.tuple_value][value.index]
        if fields := self._fields(value):
            self.tuples[var] = fields
            return
        if isinstance(value, relax.Var | tvm.ir.Constant):
            self.memory[var] = self._of(value)[0]
            return
        if isinstance(value, tvm.ir.Call):
            name = getattr(value.op, "name", "")
            if isinstance(value.op, tvm.ir.GlobalVar):
                self._call(value)
                return
            if name == "relax.builtin.alloc_tensor":
                self._new(var, Place.ARENA)
                return
            if name == "relax.reshape":
                self.memory[var] = self._of(value.args[0])[0]
                return
        what = getattr(getattr(value, "op", value), "name", type(value).__name__)
        raise CompileError(f"a plan cannot say {what}", fix="report it with the model")

    def _of(self, value: Any) -> tuple[_Memory, tuple[int, ...], str]:
        if isinstance(value, tvm.ir.Constant):
            if value not in self.constants:
                array = value.value.numpy()
                made = _Memory(array.nbytes, Place.WEIGHTS, len(self.weights), written=True)
                self.weights.append(array)
                self.memories.append(made)
                self.constants[value] = made
            return self.constants[value], *_type(value)
        return self.memory[value], *_type(value)

    def _call(self, call: tvm.ir.Call) -> None:
        symbol, step = call.op.name_hint, len(self.calls)
        arguments = [self._of(argument) for argument in call.args]
        outputs = 0
        for memory, _, _ in reversed(arguments):
            if memory.written:
                break
            memory.written, memory.first = True, step
            outputs += 1
        for memory, _, _ in arguments:
            memory.last = step
        self.calls.append((symbol, arguments))
        if symbol not in self.kernels:
            self.kernels[symbol] = PlannedKernel(symbol, _touched(self.mod[symbol]), outputs)

    def _as_output(self, number: int, value: Any) -> tuple[_Memory, tuple[int, ...], str]:
        """An intermediate tensor becomes the output itself; what is something else already (an
        input, a weight, another output) is copied."""
        memory, shape, dtype = self._of(value)
        if memory.place is not Place.ARENA:
            made = _Memory(memory.size, Place.OUTPUT, number)
            self.memories.append(made)
            self.calls.append((None, [(memory, shape, dtype), (made, shape, dtype)]))
            return made, shape, dtype
        memory.place, memory.number = Place.OUTPUT, number
        return memory, shape, dtype

    def _finish(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Plan:
        shared = [memory for memory in self.memories if memory.place is Place.ARENA]
        lifetimes = [Lifetime(memory.size, memory.first, memory.last) for memory in shared]
        places, arena = place_in_arena(lifetimes, ALIGNMENT)
        offsets = {id(memory): place for memory, place in zip(shared, places, strict=True)}
        weights, total = offsets_of(self.weights)
        tensors: dict[PlannedTensor, int] = {}

        def numbered(memory: _Memory, shape: tuple[int, ...], dtype: str) -> int:
            offset = memory.number
            if memory.place is Place.WEIGHTS:
                offset = weights[memory.number]
            elif memory.place is Place.ARENA:
                offset = offsets[id(memory)]
            tensor = PlannedTensor(memory.place, shape, dtype, offset)
            return tensors.setdefault(tensor, len(tensors))

        numbers = {symbol: number for number, symbol in enumerate(self.kernels)}
        given = tuple(numbered(*item) for item in inputs)
        results = tuple(numbered(*item) for item in outputs)
        steps = tuple(
            Step(None if symbol is None else numbers[symbol],
                 tuple(numbered(*argument) for argument in arguments))
            for symbol, arguments in self.calls
        )  # fmt: skip
        return Plan(
            tensors=tuple(tensors),
            inputs=given,
            outputs=results,
            kernels=tuple(self.kernels.values()),
            steps=steps,
            arena=arena,
            unshared=sum(memory.size for memory in shared),
            weights=total,
        )


def _touched(function: tirx.PrimFunc) -> tuple[int, ...]:
    """Bytes of each argument. Raises :class:`CompileError` for one that is no tensor."""
    sizes = []
    for parameter in function.params:
        if not isinstance(parameter.ty, tirx.BufferType):
            raise CompileError(f"kernel argument {parameter.name} is no tensor")
        shape = tuple(int(extent) for extent in parameter.ty.shape)
        sizes.append(_bytes(shape, str(parameter.ty.dtype)))
    return tuple(sizes)


def _type(value: Any) -> tuple[tuple[int, ...], str]:
    return tuple(int(extent) for extent in value.ty.shape.values), str(value.ty.dtype)


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
