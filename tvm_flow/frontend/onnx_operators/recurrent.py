"""RNN, GRU and LSTM, step by step: the length of the sequence is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from tvm_flow.frontend.onnx_operators.call import (
    Call,
    Converted,
    Converter,
    NotConvertibleError,
    dims,
    dtype_of,
)
from tvm_flow.frontend.onnx_operators.elementwise import log1p

_LONGEST = 1024  # steps: each is a dozen operators of the graph


class Layer:
    """One direction of the node: weights of the input ``w`` and of the state ``r`` with a column
    per gate and unit, their biases, and the activations."""

    def __init__(self, call: Call, direction: int, functions: list[str]) -> None:
        self.call, self.direction = call, direction
        self.w, self.r = (self._turned(place) for place in (1, 2))
        self.size = dims(self.r)[0]
        both = self.own(3)
        width = dims(self.w)[1]
        self.biases = None if both is None else [
            call.slice(both, 0, start, start + width) for start in (0, width)
        ]  # fmt: skip
        self.activations = [_activation(call, name) for name in functions]
        clip = call.attr("clip")
        self.clip = None if clip is None else float(clip)

    def own(self, place: int) -> Any:
        """This direction's part of an input."""
        call = self.call
        if call.input(place) is None:
            return None
        part = call.slice(call.inputs[place], 0, self.direction, self.direction + 1)
        return call.reshape(part, dims(part)[1:])

    def _turned(self, place: int) -> Any:
        return self.call.permute(self.own(place), [1, 0])

    def gate(self, x: Any, number: int) -> Any:
        return self.call.slice(x, 1, number * self.size, (number + 1) * self.size)

    def activate(self, number: int, x: Any) -> Any:
        if self.clip is not None:
            x = self.call.emit(relax.op.clip(x, -self.clip, self.clip))
        return self.activations[number](x)

    def product(self, x: Any, weights: Any, bias: int) -> Any:
        made = self.call.op(relax.op.matmul, x, weights)
        return made if self.biases is None else self.call.add(made, self.biases[bias])


def _activation(call: Call, name: str) -> Callable[[Any], Any]:
    """By its name, which may be written in any case."""

    def affine(x: Any, a: float, b: float) -> Any:
        return call.add(call.multiply(x, a), b)

    given = call.attr("activation_alpha"), call.attr("activation_beta")
    if any(given) and name.lower() not in ("sigmoid", "tanh", "relu", "softsign", "softplus"):
        raise NotConvertibleError(f"its activation {name} has parameters")
    found: dict[str, Callable[[Any], Any]] = {
        "sigmoid": lambda x: call.op(relax.op.sigmoid, x),
        "tanh": lambda x: call.op(relax.op.tanh, x),
        "relu": lambda x: call.op(relax.op.nn.relu, x),
        "softsign": lambda x: call.divide(x, call.add(call.op(relax.op.abs, x), 1.0)),
        "hardsigmoid": lambda x: call.emit(relax.op.clip(affine(x, 0.2, 0.5), 0.0, 1.0)),
        "softplus": lambda x: call.add(
            call.op(relax.op.maximum, x, 0.0),
            log1p(
                call, call.op(relax.op.exp, call.op(relax.op.negative, call.op(relax.op.abs, x)))
            ),
        ),
    }
    if name.lower() not in found:
        raise NotConvertibleError(f"its activation is {name}")
    return found[name.lower()]


def _recurrent(call: Call) -> Converted:
    """All states [time, direction, batch, unit], the last [direction, batch, unit], and for an LSTM
    its last cells; with ``layout`` 1 the batch comes first."""
    x, batch_first = call.inputs[0], bool(call.attr("layout", 0))
    if batch_first:
        x = call.permute(x, [1, 0, 2])
    if dims(x)[0] > _LONGEST:
        raise NotConvertibleError(f"it has {dims(x)[0]} steps, and {_LONGEST} at most fit a graph")
    kind = call.attr("direction", "forward")
    directions = 2 if kind == "bidirectional" else 1
    default = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
    names = [
        n.decode() if isinstance(n, bytes) else n
        for n in call.attr("activations", default[call.operator] * directions)
    ]
    share = len(names) // directions
    made = []
    for number in range(directions):
        layer = Layer(call, number, names[number * share : (number + 1) * share])
        backwards = kind == "reverse" or number == 1
        made.append(_one_way(layer, x, backwards, batch_first))
    states, *last = zip(*made, strict=True)
    y = call.concat(
        [call.reshape(s, [dims(s)[0], 1, *dims(s)[1:]]) for s in states], 1
    )  # fmt: skip
    ends = [
        call.concat([call.reshape(part, [1, *dims(part)]) for part in parts], 0) for parts in last
    ]
    if batch_first:
        y = call.permute(y, [2, 0, 1, 3])
        ends = [call.permute(end, [1, 0, 2]) for end in ends]
    return relax.Tuple([y, *ends])


def _one_way(layer: Layer, x: Any, backwards: bool, batch_first: bool) -> tuple[Any, ...]:
    """All states [time, batch, unit] and the last ones."""
    call = layer.call
    steps, batch, features = dims(x)
    state = _initial(layer, 5, batch, batch_first)
    cells = _initial(layer, 6, batch, batch_first) if call.operator == "LSTM" else None
    lengths = call.input(4)
    flat = call.reshape(x, [steps * batch, features])
    given = layer.product(flat, layer.w, 0)
    found: list[Any] = [None] * steps
    for step in reversed(range(steps)) if backwards else range(steps):
        row = call.slice(given, 0, step * batch, (step + 1) * batch)
        new, new_cells = _STEPS[call.operator](layer, row, state, cells)
        shown = new
        if lengths is not None:
            shown, new, new_cells = _within(call, lengths, step, (new, state), (new_cells, cells))
        state, cells = new, new_cells
        found[step] = call.reshape(shown, [1, *dims(shown)])
    last = (state,) if cells is None else (state, cells)
    return (call.concat(found, 0), *last)


def _initial(layer: Layer, place: int, batch: int, batch_first: bool) -> Any:
    call = layer.call
    given = call.input(place)
    if given is None:
        return call.zeros([batch, layer.size], dtype_of(call.inputs[0]))
    if batch_first:
        given = call.permute(given, [1, 0, 2])
    part = call.slice(given, 0, layer.direction, layer.direction + 1)
    return call.reshape(part, dims(part)[1:])


def _within(call: Call, lengths: Any, step: int, states: Any, cells: Any) -> tuple[Any, ...]:
    """Behind the end of a sequence its state stays, and zero is shown."""
    known = call.known(lengths)
    if known is not None and (np.asarray(known) > step).all():
        return states[0], states[0], cells[0]
    whole = call.reshape(call.cast(lengths, "int64"), [-1, 1])
    going = call.op(relax.op.greater, whole, step)
    nothing = call.zeros([1, 1], dtype_of(states[0]))
    shown = call.emit(relax.op.where(going, states[0], nothing))
    kept = [
        None if new is None else call.emit(relax.op.where(going, new, old))
        for new, old in (states, cells)
    ]
    return shown, kept[0], kept[1]


def _rnn(layer: Layer, row: Any, state: Any, _cells: Any) -> tuple[Any, None]:
    total = layer.call.add(row, layer.product(state, layer.r, 1))
    return layer.activate(0, total), None


def _gru(layer: Layer, row: Any, state: Any, _cells: Any) -> tuple[Any, None]:
    """Gates: update, reset, hidden."""
    call = layer.call
    if call.attr("linear_before_reset", 0):
        own = layer.product(state, layer.r, 1)
        update, reset = (
            layer.activate(0, call.add(layer.gate(row, n), layer.gate(own, n))) for n in (0, 1)
        )
        past = call.multiply(reset, layer.gate(own, 2))
    else:
        own = call.op(relax.op.matmul, state, call.slice(layer.r, 1, 0, 2 * layer.size))
        if layer.biases is not None:
            own = call.add(own, call.slice(layer.biases[1], 0, 0, 2 * layer.size))
        update, reset = (
            layer.activate(0, call.add(layer.gate(row, n), layer.gate(own, n))) for n in (0, 1)
        )
        past = call.op(relax.op.matmul, call.multiply(reset, state), layer.gate(layer.r, 2))
        if layer.biases is not None:
            bias = call.slice(layer.biases[1], 0, 2 * layer.size, 3 * layer.size)
            past = call.add(past, bias)
    hidden = layer.activate(1, call.add(layer.gate(row, 2), past))
    kept = call.multiply(update, call.subtract(state, hidden))
    return call.add(hidden, kept), None


def _lstm(layer: Layer, row: Any, state: Any, cells: Any) -> tuple[Any, Any]:
    """Gates: input, output, forget, cell."""
    call = layer.call
    total = call.add(row, layer.product(state, layer.r, 1))
    into, out, forget, new = (layer.gate(total, n) for n in range(4))
    peep = layer.own(7)
    holes = [None] * 3 if peep is None else [
        call.slice(peep, 0, n * layer.size, (n + 1) * layer.size) for n in range(3)
    ]  # fmt: skip
    into = layer.activate(0, _seen(call, into, cells, holes[0]))
    if call.attr("input_forget", 0):
        kept = call.add(call.op(relax.op.negative, into), 1.0)
    else:
        kept = layer.activate(0, _seen(call, forget, cells, holes[2]))
    added = call.multiply(into, layer.activate(1, new))
    cells = call.add(call.multiply(kept, cells), added)
    out = layer.activate(0, _seen(call, out, cells, holes[1]))
    return call.multiply(out, layer.activations[2](cells)), cells


def _seen(call: Call, gate: Any, cells: Any, hole: Any) -> Any:
    return gate if hole is None else call.add(gate, call.multiply(hole, cells))


_STEPS: dict[str, Callable[..., tuple[Any, Any]]] = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}

CONVERTERS: dict[str, Converter] = dict.fromkeys(_STEPS, _recurrent)
