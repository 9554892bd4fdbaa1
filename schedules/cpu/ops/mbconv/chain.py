"""What both algorithms for 1x1 -> depthwise -> 1x1 are made of: the packed weights, and the three
convolutions over parts of the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tvm import tirx

from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm, packed
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.microkernel import Epilogue, Segment, Tiling, Weights, product
from tvm_flow.schedules.cpu.emit.packing import Panels, pack_matrix, pack_vector
from tvm_flow.schedules.cpu.emit.vector import Expr, Value, store
from tvm_flow.schedules.cpu.emit.window import RowSweep
from tvm_flow.schedules.cpu.ops.conv2d.emit import make_epilogue
from tvm_flow.schedules.cpu.ops.depthwise.direct import accumulation, pack_taps
from tvm_flow.schedules.operators.mbconv import MBCONV, last_pointwise, window

Args = Mapping[str, tirx.Buffer]


def tall_tiles(pixels: int) -> list[int]:
    """Heights of register tiles worth trying for a product of so many pixels."""
    return [m for m in (2, 3, 4, 6, 7, 8, 10, 12, 14, 28) if m <= pixels]


class MbConv(CpuAlgorithm):
    """The weights of both algorithms."""

    operator = MBCONV

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        hid, out = Panels(problem["hid"], device.lanes), Panels(problem["co"], device.lanes)
        return packed(
            problem,
            w1=problem["ci"] * hid.padded, b1=hid.padded,
            dw=problem["k"] ** 2 * problem["hid"], dwb=problem["hid"],
            w2=problem["hid"] * out.padded, b2=out.padded,
        )  # fmt: skip

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        return [
            pack_matrix(weights["w1"].T, device.lanes),
            pack_vector(weights["b1"], device.lanes),
            pack_taps(weights["dw"]),
            weights["dwb"],
            pack_matrix(weights["w2"].T, device.lanes),
            pack_vector(weights["b2"], device.lanes),
        ]


class ChainEmitter:
    """Emits the three convolutions; ``pitch``: elements per hidden pixel."""

    def __init__(self, problem: Problem, cpu: Cpu, knobs: Knobs, pitch: int) -> None:
        self.problem, self.cpu, self.knobs, self.pitch = problem, cpu, knobs, pitch
        self.window, self.last = window(problem, pitch), last_pointwise(problem)

    def expand(
        self, args: Args, pixels: int, start: Expr, hidden: tirx.Buffer, place: Expr = 0
    ) -> None:
        """First 1x1 and activation of ``pixels`` pixels of the input from ``start`` on, into
        ``hidden`` from pixel ``place`` on."""
        p, act = self.problem, self._act("act1")

        def epilogue(first: Expr) -> Epilogue:
            def emit(
                value: Value, _i: Expr, j: Expr, channel: Expr, width: int, _valid: int
            ) -> None:
                at = (place + first + j) * self.pitch + channel
                store(hidden, act(value, width), at, width)

            return emit

        product(
            pixels,
            self._tiling(1),
            self._weights(args, 1, p["hid"], p["ci"]),
            lambda first: [
                Segment(args["x"], (start + first) * p["icp"] + p["ic0"], 0, p["icp"], p["ci"])
            ],
            epilogue,
        )

    def rows(
        self, args: Args, hidden: tirx.Buffer, swept: tirx.Buffer, in_row: Callable[[Expr], Expr],
        out_row: Callable[[Expr], Expr],
    ) -> RowSweep:  # fmt: skip
        """The depthwise convolution of rows of ``hidden`` into rows of ``swept``."""
        how = accumulation(self.window, args["dw"], args["dwb"], self._act("act2"))
        return RowSweep(
            self.window, hidden, self.knobs["tile"], in_row, out_row, y=swept, how=how,
            lanes=self.cpu.lanes,
        )  # fmt: skip

    def project(self, args: Args, swept: tirx.Buffer, pixels: int, start: Expr) -> None:
        """Second 1x1, with its epilogue, of ``pixels`` pixels of ``swept``, which are those of the
        output from ``start`` on."""
        p = self.problem
        hid, act, res = p["hid"], self._act("act"), p.text("res")
        product(
            pixels,
            self._tiling(2),
            self._weights(args, 2, p["co"], hid),
            lambda first: [Segment(swept, first * hid, 0, hid, hid)],
            lambda first: make_epilogue(self.last, args, act, res, lambda _i, j: start + first + j),
        )

    def _act(self, name: str) -> activations.Activation:
        return activations.emitter(self.problem.text(name), self.cpu)

    def _tiling(self, index: int) -> Tiling:
        knobs = self.knobs
        order = bool(knobs.get("order", 1))
        return Tiling(knobs[f"mt{index}"], knobs[f"nv{index}"], knobs["ku"], order)

    def _weights(self, args: Args, index: int, n: int, k: int) -> Weights:
        panels = Panels(n, self.cpu.lanes)
        return Weights(args[f"w{index}"], args[f"b{index}"], panels, k, by_lane=self.cpu.by_lane)
