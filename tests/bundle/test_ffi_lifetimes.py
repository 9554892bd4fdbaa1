"""What crosses TVM's C interface lives as long as it is needed, and no longer."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import transform
from tvm.target import Target

from tests.bundle.arrays import SHAPE, reference, sample
from tests.bundle.networks import lowered, write
from tvm_flow.bundle.write import Bundle, load, write_bundle
from tvm_flow.ir.lowered import TensorInfo
from tvm_flow.runtime import c_api, ffi, tensors
from tvm_flow.runtime.weights import HUGE_PAGE, huge_block


def echo() -> ffi.Function:
    return ffi.global_function("testing.echo")


def references(owner: ffi.Object) -> int:
    return c_api.Header.from_address(owner.handle).references & 0xFFFFFFFF


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_arrays_live_as_long_as_they_are_needed() -> None:
    given = np.arange(5, dtype=np.int64)
    gone = weakref.ref(given)
    call = echo().bound(given)
    given += 1
    del given
    answer = call()
    np.testing.assert_array_equal(answer, [1, 2, 3, 4, 5])
    del call
    np.testing.assert_array_equal(answer[1:], [2, 3, 4, 5])
    part = answer[3:]
    del answer
    assert gone() is not None
    assert part[1] == 5
    del part
    assert gone() is None


def test_nothing_is_left_behind() -> None:
    call = echo().bound([np.zeros(100_000, np.float32), "text", ["nested"] * 9, True, "x" * 9000])
    function, (array,) = call._kept
    before = references(function), references(array)
    for _ in range(100):
        call()
    size = resident()
    for _ in range(3000):
        call()
    assert (references(function), references(array)) == before
    assert resident() < size + 2**20


def test_errors_leave_nothing_behind(from_python: Any) -> None:
    def fail() -> None:
        raise ValueError("x" * 50_000)

    function = from_python(fail)

    def run(times: int) -> None:
        for _ in range(times):
            with pytest.raises(ffi.TvmError):
                function()

    run(50)
    before, size = references(function), resident()
    run(300)
    assert references(function) == before
    assert resident() < size + 5 * 2**20  # 15 MB of messages


def assert_size_stays(bundle: Bundle, before: int, runs: int) -> None:
    """After some runs, more of them take no more memory."""
    for _ in range(before):
        bundle.run()
    size = resident()
    for _ in range(runs):
        bundle.run()
    assert resident() < size + 2**20


def test_runs_leave_nothing_behind(pristine: Path) -> None:
    bundle = load(pristine)
    gc.disable()  # as while timing
    try:
        assert_size_stays(bundle, 500, 5000)
    finally:
        gc.enable()


def test_outputs_outlive_runs_and_the_bundle(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny")
    bundle = load(path)
    outputs = [bundle(sample() * scale) for scale in (1, 2, 3, 4)]
    assert len({output.ctypes.data for output in outputs}) == 4
    assert str(path) in Path("/proc/self/maps").read_text()
    del bundle
    gc.collect()
    assert str(path) not in Path("/proc/self/maps").read_text()
    for scale, output in zip((1, 2, 3, 4), outputs, strict=True):
        np.testing.assert_allclose(output, reference(sample() * scale), rtol=1e-4)


def test_several_outputs_of_several_types(tmp_path: Path) -> None:
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType(SHAPE, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            mean = builder.emit(relax.op.mean(x, [2, 3]))
            best = builder.emit(relax.op.argmax(mean, 1))
            result = builder.emit_output(relax.Tuple([mean, best, x]))
        builder.emit_func_output(result)
    network = lowered()
    with Target(network.board.tvm_target()):
        module = transform.LegalizeOps()(builder.get())
    names = [("mean", (1, 3), "float32"), ("best", (1,), "int64"), ("x", SHAPE, "float32")]
    network = replace(
        network, mod=module, kernels=[], outputs=[TensorInfo(*name) for name in names]
    )
    want = sample().mean((2, 3))
    expected = [want, want.argmax(1), sample()]
    path = write_bundle(network, tmp_path / "b", sample_input=sample(), expected=expected)
    bundle = load(path)
    first, second = bundle(sample()), bundle(-sample())
    assert isinstance(first, tuple)
    assert [output.dtype for output in first] == ["float32", "int64", "float32"]
    np.testing.assert_allclose(first[0], want, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(first[1], want.argmax(1))
    np.testing.assert_array_equal(second[1], (-want).argmax(1))
    assert_size_stays(bundle, 200, 3000)


def test_layouts_are_remembered_not_kept_alive() -> None:
    """A shape seen before costs nothing, and its arrays are freed all the same."""
    given = np.ones((3, 5), np.float32)
    first = echo()(given)
    seen = tensors._layout.cache_info().misses
    gone = weakref.ref(given)
    second = echo()(given)
    assert tensors._layout.cache_info().misses == seen
    del first, second, given
    assert gone() is None


def test_a_block_takes_no_more_memory_than_its_size() -> None:
    """Its end is less than a huge page and therefore in small ones."""
    modes = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if modes.exists() and "[always]" in modes.read_text():
        pytest.skip("the system uses huge pages unasked")
    for size in (HUGE_PAGE // 2, 4 * HUGE_PAGE + HUGE_PAGE // 2):
        before = resident()
        block = huge_block(size)
        block.fill(1)
        assert block.ctypes.data % HUGE_PAGE == 0
        assert abs(resident() - before - size) < HUGE_PAGE // 4
        del block
