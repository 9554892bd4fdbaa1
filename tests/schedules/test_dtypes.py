"""The contract and the vocabulary of kernels carry element types: fp32 is only their default."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.schedules import lab
from tests.schedules.cases import CASES
from tests.schedules.typed_kernels import Args, TypedDirect, solve, vector_kernel
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.algorithm import InvalidKnobs
from tvm_flow.schedules.contract.dtypes import (
    FLOAT16,
    FLOAT32,
    INT8,
    INT16,
    INT32,
    UINT8,
    DType,
)
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import TensorSpec
from tvm_flow.schedules.cpu.emit import strassen, winograd
from tvm_flow.schedules.cpu.emit.microkernel import Segment, Tiling
from tvm_flow.schedules.cpu.emit.packing import Panels, pack_matrix, pack_vector
from tvm_flow.schedules.cpu.emit.reduction import Tile
from tvm_flow.schedules.cpu.emit.vector import (
    bind,
    constant,
    constants,
    convert,
    dtype_of,
    load,
    load_valid,
    maximum,
    pick,
    reinterpret,
    repeat_lane,
    splat,
    store,
    store_valid,
)
from tvm_flow.schedules.cpu.emit.window import Accumulation, WindowShape, sweep
from tvm_flow.schedules.operators.activations import activation
from tvm_flow.schedules.operators.reference import conv2d_nhwc, depthwise_nhwc
from tvm_flow.tuning.worker.trial_data import pose

#: x86-64-v2 cannot convert half precision.
ISA_LEVELS = [isa for isa in lab.ISA_LEVELS.values() if isa.runs_here]
WITH_HALF = [isa for isa in ISA_LEVELS if isa is not lab.NARROW]
each_isa = pytest.mark.parametrize("isa", ISA_LEVELS, ids=lambda isa: isa.name)
each_with_half = pytest.mark.parametrize("isa", WITH_HALF, ids=lambda isa: isa.name)


def numbers(count: int, dtype: DType, seed: int = 0) -> np.ndarray:
    """Numbers of the whole range of ``dtype``; floats are of order one."""
    rng = np.random.default_rng(seed)
    if dtype.is_float:
        return rng.standard_normal(count).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, count, dtype.numpy, endpoint=True)


class TestContract:
    def test_sizes_and_sums(self) -> None:
        assert [dtype.bytes for dtype in (FLOAT32, FLOAT16, INT32, INT8)] == [4, 2, 4, 1]
        assert {d.accumulator for d in (INT8, UINT8, INT16, INT32)} == {INT32}
        assert FLOAT16.accumulator is FLOAT32.accumulator is FLOAT32
        assert (INT8.vector(1), UINT8.vector(16)) == ("int8", "uint8x16")

    def test_unknown_type_is_refused(self) -> None:
        with pytest.raises(ValueError, match="int4"):
            DType("int4")
        with pytest.raises(ValueError, match="float64"):
            DType.of(np.zeros(1))

    @pytest.mark.parametrize(("dtype", "size"), [(FLOAT32, 24), (FLOAT16, 12), (INT8, 6)])
    def test_bytes_of_an_argument(self, dtype: DType, size: int) -> None:
        assert TensorSpec("x", (2, 3), "input", dtype).bytes == size
        assert TensorSpec("x", (2, 3), "input").dtype is FLOAT32

    def test_keys_leave_fp32_out(self) -> None:
        plain = Problem.make("conv2d", n=1)
        assert Problem.make("conv2d", n=1, dtype=FLOAT32) == plain
        assert Problem.parse("conv2d(dtype=float32,n=1)") == plain
        assert (plain.key, plain.dtype) == ("conv2d(n=1)", FLOAT32)

    def test_keys_say_other_types(self) -> None:
        problem = Problem.make("conv2d", n=1, dtype=INT8)
        assert problem.key == "conv2d(n=1,dtype=int8)"
        assert Problem.parse(problem.key) == problem
        assert problem.dtype is INT8
        assert Problem.parse("conv2d(dtype=int8,n=1)") == problem

    @pytest.mark.parametrize("generator", sorted(CASES))
    def test_algorithms_refuse_types_they_have_no_kernel_for(self, generator: str) -> None:
        given, cpu = CASES[generator][0], lab.AVX2.cpu
        algorithm, other = registry.algorithm(given), replace(given.problem, dtype=INT8)
        message = f"{algorithm.op} {algorithm.name} has no kernel for int8"
        with pytest.raises(InvalidKnobs, match=message):
            algorithm.build(other, cpu, algorithm.default(given.problem, cpu), "kernel")


class TestPacking:
    @pytest.mark.parametrize("dtype", [INT8, FLOAT16])
    def test_type_stays(self, dtype: DType) -> None:
        matrix = numbers(3 * 5, dtype).reshape(3, 5)
        packed = pack_matrix(matrix, 4)
        assert DType.of(packed) is dtype
        assert np.array_equal(packed[:12].reshape(3, 4), matrix[:, :4])
        vector = pack_vector(matrix[0], 4)
        assert DType.of(vector) is dtype
        assert vector.tolist() == [*matrix[0].tolist(), 0]


class TestReferences:
    def test_integers_are_summed_exactly(self) -> None:
        x = np.full((1, 1, 1, 1000), 255, UINT8)
        weight, bias = np.full((1, 1000, 1, 1), 127, INT8), np.array([-(2**30) - 1], INT32)
        y = conv2d_nhwc(x, weight, bias, (1, 1), (0, 0))
        assert DType.of(y) is INT32
        assert y.item() == 1000 * 255 * 127 - 2**30 - 1
        y = depthwise_nhwc(x, np.full((1000, 1, 1), -127, INT8), bias, (1, 1), (0, 0))
        assert DType.of(y) is INT32
        assert set(y.ravel().tolist()) == {-255 * 127 - 2**30 - 1}

    @pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16])
    def test_floats_keep_their_type(self, dtype: DType) -> None:
        x = numbers(8, dtype).reshape(1, 2, 2, 2)
        y = depthwise_nhwc(x, np.ones((2, 1, 1), dtype), np.zeros(2, dtype), (1, 1), (0, 0))
        assert DType.of(y) is dtype
        assert np.array_equal(y, x)


CONVS = [
    Problem.make("typed_conv", h=4, w=7, ci=6, co=21, dtype=dtype, act=act, **more)
    for dtype, act, more in [
        (INT8, "none", {}),
        (UINT8, "relu", {"zero": 118}),
        (UINT8, "none", {"zero": 3, "staged": 1}),
        (INT16, "relu6", {}),
        (FLOAT32, "gelu", {}),
        (FLOAT16, "relu", {}),
        (FLOAT16, "gelu", {}),
        (FLOAT16, "silu", {}),
    ]
]  # fmt: skip


class TestConvolution:
    """Staging, packing, the microkernel, activations and the tuner's data, all of one type."""

    @pytest.mark.parametrize("problem", CONVS, ids=str)
    @each_isa
    def test_it_computes_what_the_reference_does(
        self, isa: lab.IsaLevel, problem: Problem, tmp_path: Path
    ) -> None:
        if problem.dtype is FLOAT16 and isa not in WITH_HALF:
            pytest.skip("no half precision")
        algorithm = TypedDirect()
        data = pose(algorithm, problem, isa.cpu, seed=3, file=tmp_path / "y.npz")
        func = algorithm.build(problem, isa.cpu, {"mt": 3}, "conv")
        solve(isa, data, func, 1e-6 if problem.dtype is FLOAT32 else 0)

    def test_integers_have_no_gelu(self) -> None:
        problem = Problem.make("typed_conv", h=1, w=1, ci=1, co=1, dtype=INT8, act="gelu")
        with pytest.raises(ValueError, match="gelu of int32 depends on its scale"):
            TypedDirect().build(problem, lab.AVX2.cpu, {"mt": 3}, "conv")
        with pytest.raises(ValueError, match="gelu"):
            activation("gelu", np.zeros(3, INT32))


class TestVocabulary:
    """Small kernels; integers must come out exactly, half precision rounded once."""

    @pytest.mark.parametrize("dtype", [INT8, UINT8, INT16, INT32])
    @each_isa
    def test_partial_vectors(self, isa: lab.IsaLevel, dtype: DType) -> None:
        self.partial_vectors(isa, dtype)

    @each_with_half
    def test_partial_vectors_of_half_precision(self, isa: lab.IsaLevel) -> None:
        self.partial_vectors(isa, FLOAT16)

    def partial_vectors(self, isa: lab.IsaLevel, dtype: DType) -> None:
        x = numbers(11, dtype)
        y = np.concatenate([x, np.zeros(5, dtype)])[::-1].copy()

        def body(args: Args) -> None:
            value = bind(load_valid(args["x"], 0, 16, 11), 16)
            assert dtype_of(value()) is dtype
            order = list(reversed(range(16)))
            turned = bind(pick([value()], [i if i < 11 else None for i in order], 16), 16)
            store_valid(args["y"], turned, 0, 16, 13)
            store_valid(args["y"], lambda: load(args["x"], 0, 4), 13, 4, 3)

        y[13:] = x[:3]
        solve(isa, *vector_kernel({"x": x}, y, body))

    @pytest.mark.parametrize(
        ("source", "target"), [*product((INT8, UINT8), (INT16, INT32, FLOAT32)), (INT32, FLOAT32)]
    )
    @each_isa
    def test_widening(self, isa: lab.IsaLevel, source: DType, target: DType) -> None:
        x = numbers(16, source)

        def body(args: Args) -> None:
            store(args["y"], convert(load(args["x"], 0, 16), target), 0, 16)

        solve(isa, *vector_kernel({"x": x}, x.astype(target), body))

    @each_isa
    def test_one_word_of_four_bytes_repeated(self, isa: lab.IsaLevel) -> None:
        """What dot product instructions take: four inputs of a pixel beside every column's."""
        x = numbers(4, UINT8)

        def body(args: Args) -> None:
            word = reinterpret(load(args["x"], 0, 4), INT32)
            store(args["y"], reinterpret(splat(word, 4), UINT8), 0, 16)

        solve(isa, *vector_kernel({"x": x}, np.tile(x, 4), body))

    @each_isa
    def test_constants(self, isa: lab.IsaLevel) -> None:
        def body(args: Args) -> None:
            values = constants([-128, 5, 127, 0], INT8)
            store(args["y"], maximum(values, constant(-3, 4, INT8)), 0, 4)
            store(args["y"], repeat_lane(values, 2, 2), 4, 2)

        y = np.array([-3, 5, 127, 0, 127, 127], INT8)
        solve(isa, *vector_kernel({"x": y}, y.copy(), body))

    def test_an_integer_constant_is_whole(self) -> None:
        with pytest.raises(ValueError, match=r"0\.5 is no int8"):
            constant(0.5, 4, INT8)


def windows_of(x: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(0, 1))


@each_isa
def test_window_of_bytes(isa: lab.IsaLevel) -> None:
    """The greatest int8 of a window, and the 32-bit sum of its uint8."""
    shape = WindowShape(n=1, h=5, w=6, kh=2, kw=2, sh=1, sw=1, ph=0, pw=0, c=21, cp=21, c0=0)
    greatest = Accumulation(
        start=lambda _c, width: constant(-128, width, INT8),
        tap=lambda acc, x, _dy, _dx, _c, _w: maximum(acc, x),
        finish=lambda read, _c, _w: read(),
    )
    total = Accumulation(
        start=lambda _c, width: constant(0, width, INT32),
        tap=lambda acc, x, _dy, _dx, _c, _w: acc + convert(x, INT32),
        finish=lambda read, _c, _w: read(),
    )
    for dtype, how, compute in (
        (INT8, greatest, lambda view: view.max(axis=(3, 4))),
        (UINT8, total, lambda view: view.sum(axis=(3, 4), dtype=INT32)),
    ):
        x = numbers(5 * 6 * 21, dtype)
        y = compute(windows_of(x.reshape(5, 6, 21))).reshape(-1)

        def body(args: Args, how: Accumulation = how) -> None:
            lanes = isa.cpu.lanes
            sweep(shape, args["x"], args["y"], how, tile=Tile(1, 3), rows=2, lanes=lanes, threads=1)

        solve(isa, *vector_kernel({"x": x}, y, body))


@each_with_half
def test_strassen_in_half_precision(isa: lab.IsaLevel) -> None:
    rows, k, n, lanes = 6, 64, 32, isa.cpu.lanes
    x, matrix, bias = numbers(rows * k, FLOAT16), numbers(k * n, FLOAT16, 1), numbers(n, FLOAT16, 2)
    y = x.reshape(rows, k).astype(float) @ matrix.reshape(k, n).astype(float) + bias
    packed = strassen.pack_weights(matrix.reshape(k, n), lanes)
    assert DType.of(packed) is FLOAT16

    def body(args: Args) -> None:
        strassen.StrassenEmitter(
            rows=rows, k=k, n=n, weight=args["weight"], bias=args["bias"],
            tiling=Tiling(3, 1, 4, True),
            segments=lambda p: [Segment(args["x"], p * k, 0, k, k)],
            epilogue=lambda p: lambda value, _i, j, channel, width, _valid: store(
                args["y"], convert(value(), FLOAT16), (p + j) * n + channel, width
            ),
            lanes=lanes,
        ).emit()  # fmt: skip

    given = {"x": x, "weight": packed, "bias": bias}
    solve(isa, *vector_kernel(given, y.astype(FLOAT16).reshape(-1), body), 0.01)


@each_with_half
def test_winograd_in_half_precision(isa: lab.IsaLevel) -> None:
    size, ci, co = 4, 3, 5
    panels, pitch = Panels(co, isa.cpu.lanes), (size + 2) * ci
    pad = np.zeros((size + 2, size + 2, ci), FLOAT16)
    pad[1:-1, 1:-1] = numbers(size * size * ci, FLOAT16).reshape(size, size, ci)
    weight, bias = numbers(co * ci * 9, FLOAT16, 1).reshape(co, ci, 3, 3), numbers(co, FLOAT16, 2)
    y = conv2d_nhwc(pad[None], weight, bias, (1, 1), (0, 0))
    packed = winograd.pack_weights(weight, 2, panels.lanes)
    assert DType.of(packed) is FLOAT16

    def body(args: Args) -> None:
        def store_at(row, column):  # type: ignore[no-untyped-def]
            def leave(value, i, j, channel, width, valid):  # type: ignore[no-untyped-def]
                out = bind(convert(value(), FLOAT16), width)
                at = ((row + i) * size + column + j) * co + channel
                store_valid(args["y"], out, at, width, valid)

            return leave

        winograd.WinogradEmitter(
            m=2, rows=size, width=size, ci=ci, pad=args["pad"], pitch=pitch, weight=args["weight"],
            bias=args["bias"], panels=panels, tiling=Tiling(2, 1, 4, True), epilogue=store_at,
        ).emit()  # fmt: skip

    given = {"pad": pad.reshape(-1), "weight": packed, "bias": pack_vector(bias, panels.lanes)}
    solve(isa, *vector_kernel(given, y.reshape(-1), body), 0.01)
