"""A network imported and optimised, each held against the model on one random sample.

The import is compared at every place that has a name on both sides. A place is given the model's
own values, so rounding does not add up and the first that differs is the one that is wrong. Of the
passes the outputs are compared; where they differ, every pass is, from a fresh import.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tvm_flow.frontend.source import Imported
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.passes.phases import Observer, Phase, run_phases
from tvm_flow.schedules.contract.problem import AXES, NCHW, NHWC
from tvm_flow.support.errors import CompileError, ImportUnsupportedError
from tvm_flow.verify.compare import TOLERANCE, explained, told, worst_error
from tvm_flow.verify.evaluate import Evaluator, WrongShapeError
from tvm_flow.verify.relax_nodes import WrongIndexError

SEED = 0
#: How much farther from fp64 than the import an optimised network may be.
OWN_ERROR = 16.0
#: What evaluating a graph that makes no sense raises, PyTorch's errors among them.
_SENSELESS = (WrongShapeError, WrongIndexError, RuntimeError, IndexError)
_REPORT = "write that part of the model in another way, and report it"


@dataclass(frozen=True)
class VerifiedGraph:
    """An optimised ``graph`` whose outputs are the model's. ``places``: values of the model that
    the import was compared at; ``error``: the largest relative difference of the outputs after the
    passes; ``seconds``: what all comparing took."""

    graph: Graph
    places: int
    error: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.places} places of the graph verified in {self.seconds:.1f} s"


def verified_graph(
    imported: Callable[[], Imported],
    phases: Sequence[Phase],
    layout: str = "NCHW",
    observe: Observer | None = None,
    given: Sequence[np.ndarray] | None = None,
    accept: Callable[[list[Tensor]], None] | None = None,
) -> VerifiedGraph:
    """Import, run ``phases``, and compare both with the model on the inputs ``given``, by default
    random ones.

    ``layout`` is that of 4-D inputs and outputs after the phases; ``observe`` sees the graph as
    ``imported`` and after each phase; ``accept`` the outputs that all are compared with, before the
    passes run. ``imported`` is called again to find a wrong pass.

    Raises what ``imported`` raises, :class:`ImportUnsupportedError` naming operator and module for
    a wrong import, and :class:`CompileError` naming the pass for a wrong pass.
    """
    first = imported()
    if observe is not None:
        observe("imported", first.graph)
    start = time.perf_counter()
    with one_thread():
        inputs = (
            sample(first.graph)
            if given is None
            else [torch.from_numpy(np.array(array)) for array in given]
        )
        places, expected = verified_import(first, inputs)
        if accept is not None:
            accept(expected)
    seconds = time.perf_counter() - start
    graph = run_phases(first.graph, phases, observe)
    start = time.perf_counter()
    with one_thread():
        error = _error(graph, inputs, layout, expected)
        if not error <= TOLERANCE:
            _blame(imported().graph, phases, inputs, layout)
    return VerifiedGraph(graph, places, error, seconds + time.perf_counter() - start)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: the work is small, and threads that wait for each other in it take
    many times as long wherever a core has something else to do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sample(graph: Graph) -> list[Tensor]:
    """Random inputs of an imported graph, the same for every compilation: normal numbers, and
    zeros and ones where they are whole."""
    rng = np.random.default_rng(SEED)
    found = []
    for node in graph.inputs:
        kind = getattr(torch, node.dtype)
        values = (
            rng.standard_normal(node.shape, np.float32)
            if kind.is_floating_point
            else rng.integers(0, 2, node.shape)
        )
        found.append(torch.from_numpy(np.asarray(values)).to(kind))
    return found


def verified_import(imported: Imported, inputs: Sequence[Tensor]) -> tuple[int, list[Tensor]]:
    """As :func:`verify_import`; before an import is wrong, another judge is asked, if there is
    one."""
    try:
        return verify_import(imported, inputs)
    except ImportUnsupportedError:
        if not imported.source.ask_another():
            raise
        return verify_import(imported, inputs)


def verify_import(imported: Imported, inputs: Sequence[Tensor]) -> tuple[int, list[Tensor]]:
    """How many places were compared, and the model's outputs.

    Raises :class:`ImportUnsupportedError` for the first place that differs.
    """
    source, graph = imported.source, imported.graph
    values, outputs = source.values(inputs, imported.origins.keys())
    if len(outputs) != len(graph.outputs):
        raise ImportUnsupportedError(
            f"The import of {graph.name} is wrong",
            why=f"the model returns {len(outputs)} tensors, of which {len(graph.outputs)} "
            "were imported",
            fix=_REPORT,
        )
    comparison = _Comparison(imported, values)
    try:
        made = Evaluator(graph).run(inputs, comparison)
    except _SENSELESS as error:
        raise _wrong_import(imported, comparison.next_place(), str(error)) from error
    for number, (actual, expected) in enumerate(zip(made, outputs, strict=True)):
        if not explained(actual, expected, [actual]):
            raise _wrong_import(imported, None, f"output {number}: {told(actual, expected)}")
    return comparison.compared, outputs


class _Comparison:
    """Watches an evaluation: compares what has an origin, and goes on with the model's value."""

    def __init__(self, imported: Imported, values: dict[str, Tensor]) -> None:
        self.imported, self.values = imported, values
        self.names: dict[int, list[str]] = {}
        for name, node in imported.origins.items():
            if name in values:
                self.names.setdefault(id(node), []).append(name)
        self.seen: dict[int, Tensor] = {}
        self.compared = 0

    def __call__(self, node: Node, value: Tensor) -> Tensor:
        inputs = [self.seen[id(source)] for source in node.inputs]
        for name in self.names.get(id(node), []):
            expected = self.values[name]
            if not explained(value, expected, inputs):
                raise _wrong_import(self.imported, name, told(value, expected))
            self.compared += 1
            value = expected
        self.seen[id(node)] = value
        return value

    def next_place(self) -> str | None:
        """The first place that the evaluation has not come to."""
        for node in self.imported.graph.nodes():
            if id(node) not in self.seen and id(node) in self.names:
                return self.names[id(node)][0]
        return None


def _wrong_import(imported: Imported, name: str | None, why: str) -> ImportUnsupportedError:
    what = imported.source.place(name) if name else imported.graph.name
    return ImportUnsupportedError(
        f"The import of {what} is wrong",
        why=f"compared with {imported.source.judge} on a random input, {why}",
        fix=_REPORT,
    )


def _outputs(graph: Graph, inputs: Sequence[Tensor], layout: str, *, double: bool = False,
             evaluator: Evaluator | None = None) -> list[Tensor]:  # fmt: skip
    """Outputs as the model gives them. ``layout`` is that of the graph's 4-D inputs and outputs."""
    turned = layout == "NHWC"
    given = [_turn(x, NHWC) if turned else x for x in inputs]
    made = (evaluator or Evaluator(graph)).run(given, double=double)
    return [_turn(y, NCHW) if turned else y for y in made]


def _turn(x: Tensor, to: str) -> Tensor:
    return x.permute(AXES[to]) if x.ndim == 4 else x


def _error(graph: Graph, inputs: Sequence[Tensor], layout: str, expected: list[Tensor]) -> float:
    try:
        return worst_error(_outputs(graph, inputs, layout), expected)
    except _SENSELESS:
        return float("inf")


def _blame(graph: Graph, phases: Sequence[Phase], inputs: Sequence[Tensor], layout: str) -> None:
    """Raise :class:`CompileError` for the first pass that changes what ``graph`` computes by more
    than a multiple of what fp32 itself is off by."""
    evaluator = Evaluator(graph)
    expected = _outputs(graph, inputs, "NCHW", evaluator=evaluator)
    exact = _outputs(graph, inputs, "NCHW", double=True, evaluator=evaluator)
    own = worst_error(expected, [e.to(s.dtype) for e, s in zip(exact, expected, strict=True)])
    allowed = max(TOLERANCE, OWN_ERROR * own)
    for name, graph_pass in phases:
        graph = graph_pass(graph)
        border = layout if graph.layout == NHWC else "NCHW"
        try:
            error = worst_error(_outputs(graph, inputs, border), expected)
        except _SENSELESS as problem:
            raise _wrong_pass(name, graph, str(problem)) from problem
        if error > allowed:
            raise _wrong_pass(name, graph, f"its outputs are off by {error:.2g}, {allowed:.2g} is "
                              "what rounding explains")  # fmt: skip


def _wrong_pass(name: str, graph: Graph, why: str) -> CompileError:
    return CompileError(
        f"the pass {name} changes what {graph.name} computes",
        why=why,
        fix="report it with the model; no records and no target change it",
    )
