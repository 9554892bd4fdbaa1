"""The layers of a compiled network: what each is, computes, moves, and should take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from tvm_flow.analysis.parts import Part, parts_of
from tvm_flow.analysis.predict import Peaks, Prediction, predict, roofline_s
from tvm_flow.analysis.work import Work, work_of
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.cpu.device import Cpu

#: Where a time comes from.
MEASURED, MODELLED, UNKNOWN = "measured", "modelled", ""
#: Bytes of an element of what a kernel that TVM made by itself takes and gives, to count elements.
_ELEMENT = 4


@dataclass(frozen=True)
class Layer:
    """One kernel call, in execution order.

    ``kernel``: a few words; ``workload``: key of what it computes and by what, empty for a kernel
    that TVM made by itself. ``parameters``: of the PyTorch modules, batch norms included. ``macs``:
    multiply-accumulates of the direct algorithm. ``access``: memory access cost in elements (see
    :mod:`tvm_flow.analysis.parts`), ``access_bytes`` in bytes: what its layers would move one by
    one. ``moved``: bytes that the fused kernel moves at least. ``image``: pixels of its output.
    ``padding``: arithmetic on lanes that hold no channel, as a fraction of the rest.
    ``time_s``: seconds, ``time_word``: ``"measured"``, ``"modelled"`` or empty for unknown.
    """

    symbol: str
    kernel: str
    workload: str
    modules: tuple[str, ...]
    source: str
    image: tuple[int, int]
    parameters: int
    macs: int
    access: int
    access_bytes: int
    moved: int
    padding: float
    roofline_s: float
    predicted: Prediction
    time_s: float | None = None
    time_word: str = UNKNOWN

    @property
    def flops(self) -> int:
        return 2 * self.macs

    @property
    def intensity(self) -> float:
        """FLOPs per byte moved."""
        return self.flops / self.moved if self.moved else 0.0

    @property
    def parts(self) -> tuple[Part, ...]:
        if not self.workload:
            return ()
        return parts_of(Workload.parse(self.workload).problem)

    def to_json(self) -> dict[str, Any]:
        """Plain data; see docs/analysis.md."""
        return {
            "symbol": self.symbol,
            "kernel": self.kernel,
            "workload": self.workload,
            "modules": list(self.modules),
            "source": self.source,
            "image": list(self.image),
            "parameters": self.parameters,
            "macs": self.macs,
            "flops": self.flops,
            "access_elements": self.access,
            "access_bytes": self.access_bytes,
            "moved_bytes": self.moved,
            "padding": self.padding,
            "intensity": self.intensity,
            "roofline_s": self.roofline_s,
            "predicted": prediction_json(self.predicted),
            "time_s": self.time_s,
            "time": self.time_word,
        }


def prediction_json(predicted: Prediction) -> dict[str, Any]:
    return {
        "total_s": predicted.total,
        "compute_s": predicted.compute,
        "bandwidth_s": predicted.bandwidth,
        "launch_s": predicted.launch,
        "limit": predicted.limit,
    }


@dataclass(frozen=True)
class Call:
    """One kernel call as the manifest of a bundle has it; ``info`` is the kernel's entry, ``None``
    for a kernel that TVM made by itself. ``argument_bytes``: of all its arguments."""

    symbol: str
    info: Mapping[str, Any] | None
    argument_bytes: int


def planned_calls(graph: Graph, ways: Callable[[Node], list[Workload]]) -> list[Call]:
    """The calls of a graph that is not compiled, every kernel by the first of its ``ways``. What no
    kernel computes is a call of its own, while a compiler may join several."""
    calls = []
    for node in graph.nodes():
        moved = node.bytes + sum(source.bytes for source in node.inputs)
        found = ways(node)
        if found:
            info = {
                "problem": found[0].problem.key, "algorithm": found[0].algorithm,
                "modules": list(node.modules), "source": "default",
            }  # fmt: skip
            calls.append(Call(found[0].problem.op, info, moved))
        elif node.op not in ("input", "const", "reshape"):
            calls.append(Call(node.op, None, moved))
    return calls


def layers_of(
    calls: Sequence[Call], device: Cpu, peaks: Peaks, parameters: Mapping[str, int]
) -> tuple[Layer, ...]:
    """Layers without times. ``parameters``: of each PyTorch module, without those inside it; a
    module counts for the first kernel that computes a part of it."""
    workloads = [
        Workload.parse(f"{call.info['problem']}:{call.info['algorithm']}") if call.info else None
        for call in calls
    ]
    works = [None if workload is None else work_of(workload, device) for workload in workloads]
    resident = sum(work.weights for work in works if work)
    left = dict(parameters)
    layers = []
    for call, workload, work in zip(calls, workloads, works, strict=True):
        if workload is None or work is None or call.info is None:
            layers.append(_generic(call, peaks))
            continue
        modules = tuple(call.info["modules"])
        count = sum(left.pop(module, 0) for module in modules)
        layers.append(_layer(call, workload, work, modules, count, peaks, resident))
    return tuple(layers)


def _layer(
    call: Call, workload: Workload, work: Work, modules: tuple[str, ...], parameters: int,
    peaks: Peaks, resident: int,
) -> Layer:  # fmt: skip
    assert call.info is not None
    parts = parts_of(workload.problem)
    macs, access = sum(part.macs for part in parts), sum(part.access for part in parts)
    return Layer(
        symbol=call.symbol,
        kernel=workload.short_name,
        workload=workload.key,
        modules=modules,
        source=str(call.info["source"]),
        image=parts[-1].image,
        parameters=parameters,
        macs=macs,
        access=access,
        access_bytes=access * workload.problem.dtype.bytes,
        moved=work.moved,
        padding=work.slots / work.useful - 1 if work.useful else 0.0,
        roofline_s=roofline_s(macs, work, peaks, resident),
        predicted=predict(work, peaks, resident),
    )


def _generic(call: Call, peaks: Peaks) -> Layer:
    """Of a kernel of TVM's own making nothing is known but what it is given."""
    work = Work(0, 0, call.argument_bytes, 0, 0)
    return Layer(
        symbol=call.symbol, kernel=call.symbol, workload="", modules=(), source="generic",
        image=(0, 0), parameters=0, macs=0, access=call.argument_bytes // _ELEMENT,
        access_bytes=call.argument_bytes, moved=call.argument_bytes, padding=0.0,
        roofline_s=roofline_s(0, work, peaks, 0),
        predicted=predict(work, peaks, 0),
    )  # fmt: skip


def parameters_of(module: nn.Module) -> dict[str, int]:
    """Parameters by the path of the module that owns them; shared ones count once."""
    found: dict[str, int] = {}
    for name, parameter in module.named_parameters():
        owner = name.rpartition(".")[0]
        found[owner] = found.get(owner, 0) + parameter.numel()
    return found


def folded_parameters(calls: Sequence[Call]) -> int:
    """Weights and biases of the kernels, where there is no PyTorch module to count in."""
    problems = [Problem.parse(str(call.info["problem"])) for call in calls if call.info]
    return sum(
        math.prod(shape)
        for problem in problems
        for shape in registry.operator(problem.op).weight_shapes(problem).values()
    )
