"""Graph -> Relax: one call per kernel, packed weights as constants, the rest as Relax operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax

from tvm_flow.codegen.activation import activation
from tvm_flow.ir.choice import Choice, Chooser
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.ir.lowered import KernelInfo
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.device import Device
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.support.errors import CompileError

#: The ways to compute a node, the one to take without measurements first; none for a node that is
#: emitted as Relax.
Ways = Callable[[Node], list[Workload]]


def emit(
    graph: Graph, device: Device, choose: Chooser, ways: Ways
) -> tuple[tvm.IRModule, list[KernelInfo]]:
    """Relax module with ``main`` and one TIR function per kernel, and one entry per kernel call.

    Calls with the same workload share a function. Raises :class:`CompileError` if a kernel cannot
    be generated from the chosen knobs.
    """
    return _RelaxEmitter(device, choose, ways).run(graph)


class _RelaxEmitter:
    def __init__(self, device: Device, choose: Chooser, ways: Ways) -> None:
        self.device, self.choose, self.ways = device, choose, ways
        self.builder = relax.BlockBuilder()
        self.functions: dict[str, tuple[tvm.ir.GlobalVar, str, Choice]] = {}
        self.kernels: list[KernelInfo] = []
        self.values: dict[int, relax.Expr] = {}

    def run(self, graph: Graph) -> tuple[tvm.IRModule, list[KernelInfo]]:
        params = [relax.Var(node.name or "input", _type(node)) for node in graph.inputs]
        for node, param in zip(graph.inputs, params, strict=True):
            self.values[id(node)] = param
        with self.builder.function("main", params):
            with self.builder.dataflow():
                for node in graph.nodes():
                    if node.op != "input":
                        self.values[id(node)] = self.bound(self.expression(node))
                outputs = [self.values[id(node)] for node in graph.outputs]
                result = outputs[0] if len(outputs) == 1 else relax.Tuple(outputs)
                result = self.builder.emit_output(result)
            self.builder.emit_func_output(result)
        return self.builder.get(), self.kernels

    def bound(self, expression: relax.Expr) -> relax.Expr:
        """The variable of an expression; a number stays one, and operators take it into theirs."""
        if isinstance(expression, tvm.ir.Constant) and expression.value.ndim == 0:
            return expression
        return self.builder.emit(expression)

    def expression(self, node: Node) -> relax.Expr:
        found = self.ways(node)
        if found:
            return self.kernel(node, self.fastest(found))
        sources = [self.values[id(source)] for source in node.inputs]
        if "call" in node.attrs:
            return _original(node, sources)
        return _RELAX[node.op](node, sources)

    def fastest(self, found: list[Workload]) -> Workload:
        """The first way, unless records say that another is faster."""
        times = [self.choose(way).seconds for way in found] if len(found) > 1 else [None]
        if times[0] is None:
            return found[0]
        return min(zip(found, times, strict=True), key=lambda pair: pair[1] or float("inf"))[0]

    def kernel(self, node: Node, workload: Workload) -> relax.Expr:
        algorithm, problem = registry.algorithm(workload, self.device.kind), workload.problem
        var, symbol, choice = self.function(workload)
        packed = algorithm.pack(problem, self.device, _plain_weights(node))
        args = [
            self.shaped(self.values[id(source)], source.shape, spec.shape)
            for source, spec in zip(node.inputs, algorithm.operator.inputs(problem), strict=True)
        ]
        specs = algorithm.weights(problem, self.device)
        args += [relax.const(a, spec.dtype) for a, spec in zip(packed, specs, strict=True)]
        (output,) = algorithm.operator.outputs(problem)
        self.kernels.append(
            KernelInfo(
                symbol=symbol,
                problem=problem.key,
                algorithm=workload.algorithm,
                knobs=choice.knobs,
                source=choice.source,
                record_sha=choice.record_sha,
                label=choice.label,
                modules=node.modules,
                macs=algorithm.operator.macs(problem),
                bytes=algorithm.bytes_moved(problem, self.device),
            )
        )
        call = relax.call_tir(var, args, relax.TensorType(output.shape, output.dtype))
        return self.shaped(call, output.shape, node.shape)

    def shaped(
        self, value: relax.Expr, shape: tuple[int, ...], wanted: tuple[int, ...]
    ) -> relax.Expr:
        """``value`` of ``shape`` under the shape that is wanted."""
        if shape == wanted:
            return value
        return relax.op.reshape(self.bound(value), wanted)

    def function(self, workload: Workload) -> tuple[tvm.ir.GlobalVar, str, Choice]:
        """The module's function for a workload, generated on first use."""
        if workload.key not in self.functions:
            choice = self.choose(workload)
            problem = workload.problem
            symbol = f"{problem.op}_{workload.algorithm}_{len(self.functions)}"
            algorithm = registry.algorithm(workload, self.device.kind)
            try:
                func = algorithm.build(problem, self.device, choice.knobs, symbol)
            except (ValueError, KeyError) as error:
                raise CompileError(
                    f"no kernel for {workload.key} with knobs {choice.knobs}",
                    why=str(error),
                    fix="remove the record, or report it if it came with the project",
                ) from error
            private = func.without_attr("global_symbol")
            var = self.builder.add_func(private, symbol)
            self.functions[workload.key] = (var, symbol, choice)
        return self.functions[workload.key]


def _plain_weights(node: Node) -> dict[str, np.ndarray]:
    """Weights under the names that packing expects, contiguous."""
    return {name: np.ascontiguousarray(value) for name, value in node.weights.items()}


def _type(node: Node) -> relax.TensorType:
    return relax.TensorType(node.shape, node.dtype)


def _original(node: Node, sources: list[relax.Expr]) -> relax.Expr:
    """The operator's own Relax call with its tensor arguments replaced."""
    call = node.attrs["call"]
    args = list(call.args)
    for slot, source in zip(node.attrs["slots"], sources, strict=True):
        args[slot] = source
    return relax.Call(call.op, args, call.attrs, call.ty_args)


def _affine_relax(node: Node, sources: list[relax.Expr]) -> relax.Expr:
    shape = [1, -1] + [1] * (len(node.shape) - 2)
    scale, shift = (node.weights[k].reshape(shape) for k in ("scale", "shift"))
    scaled = relax.op.multiply(sources[0], relax.const(np.ascontiguousarray(scale)))
    return relax.op.add(scaled, relax.const(np.ascontiguousarray(shift)))


def _act_relax(node: Node, sources: list[relax.Expr]) -> relax.Expr:
    return activation(node.attrs["kind"], sources[0], node.dtype)


def _shuffle_relax(node: Node, sources: list[relax.Expr]) -> relax.Expr:
    """Channel shuffle of an NHWC tensor, or of two concatenated ones."""
    whole = sources[0] if len(sources) == 1 else relax.op.concat(sources, axis=3)
    n, h, w, c = node.shape
    groups = node.attrs.get("groups", 2)
    split = relax.op.reshape(whole, (n, h, w, groups, c // groups))
    return relax.op.reshape(relax.op.permute_dims(split, [0, 1, 2, 4, 3]), node.shape)


def _slice_relax(node: Node, sources: list[relax.Expr]) -> relax.Expr:
    a = node.attrs
    return relax.op.strided_slice(sources[0], [a["axis"]], [a["start"]], [a["stop"]])


_RELAX: dict[str, Callable[[Node, list[relax.Expr]], relax.Expr]] = {
    "const": lambda node, _: relax.const(node.weights["value"].copy(order="C"), node.dtype),
    "reshape": lambda node, s: relax.op.reshape(s[0], node.shape),
    "permute": lambda node, s: relax.op.permute_dims(s[0], list(node.attrs["axes"])),
    "slice": _slice_relax,
    "concat": lambda node, s: relax.op.concat(s, axis=node.attrs["axis"]),
    "slice_scatter": lambda node, s: relax.op.slice_scatter(
        s[0], s[1], node.attrs["start"], node.attrs["stop"], 1, axis=node.attrs["axis"]
    ),
    "clip": lambda node, s: relax.op.clip(s[0], node.attrs["low"], node.attrs["high"]),
    "add": lambda node, s: relax.op.add(*s),
    "subtract": lambda node, s: relax.op.subtract(*s),
    "multiply": lambda node, s: relax.op.multiply(*s),
    "divide": lambda node, s: relax.op.divide(*s),
    "act": _act_relax,
    "affine": _affine_relax,
    "channel_shuffle": _shuffle_relax,
    "concat_shuffle": _shuffle_relax,
}
