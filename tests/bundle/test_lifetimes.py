"""What a bundle has lives as long as it is needed, and no longer."""

from __future__ import annotations

import gc
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tvm import relax
from tvm.relax import transform
from tvm.target import Target

from tests.bundle.arrays import SHAPE, reference, sample, weight
from tests.bundle.networks import in_threads, lowered, write
from tests.runtime.library import threads_beyond
from tvm_flow import Bundle, load
from tvm_flow.bundle.write import write_bundle
from tvm_flow.ir.lowered import TensorInfo
from tvm_flow.measure.huge_pages import HUGE_PAGE, huge_block


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


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
        assert_size_stays(bundle, 500, 20_000)
    finally:
        gc.enable()


def test_loads_leave_nothing_behind(pristine: Path) -> None:
    def load_and_run(times: int) -> None:
        for _ in range(times):
            load(pristine)(sample())

    load_and_run(50)
    size, files, tasks = resident(), len(os.listdir("/proc/self/fd")), threads()
    load_and_run(300)
    assert resident() < size + 2**20
    assert len(os.listdir("/proc/self/fd")) == files
    assert threads_beyond(tasks) == 0


def test_loads_in_threads_of_short_life_leave_no_threads(pristine: Path) -> None:
    before = threads()
    for _ in range(20):
        in_threads(2, lambda: load(pristine).run())
    gc.collect()
    assert threads_beyond(before) == 0


def test_outputs_outlive_runs_and_the_bundle(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny")
    bundle = load(path)
    outputs = [bundle(sample() * scale) for scale in (1, 2, 3, 4)]
    assert len({output.ctypes.data for output in outputs}) == 4
    assert f"{path}/model.so" in Path("/proc/self/maps").read_text()
    del bundle
    gc.collect()
    assert f"{path}/model.so" not in Path("/proc/self/maps").read_text()
    for scale, output in zip((1, 2, 3, 4), outputs, strict=True):
        np.testing.assert_allclose(output, reference(sample() * scale), rtol=1e-4)


def test_views_keep_the_memory_they_look_at(pristine: Path) -> None:
    bundle = load(pristine)
    bundle(sample())
    given, result = bundle.buffers[0], bundle.results[0]
    del bundle
    gc.collect()
    np.testing.assert_array_equal(given, sample())
    np.testing.assert_allclose(result, reference(sample()), rtol=1e-4)


def test_another_bundle_at_the_same_place(tmp_path: Path) -> None:
    """The dynamic linker would take the library it has for the one at the same path."""
    path = write(tmp_path / "b")
    old = load(path)
    network = lowered()
    other = replace(network, mod=_with_other_weights())
    want = 2 * reference(sample())
    write_bundle(other, path, sample=[sample()], expected=[want])
    new = load(path)
    np.testing.assert_allclose(new(sample()), want, rtol=1e-4)
    np.testing.assert_allclose(old(sample()), reference(sample()), rtol=1e-4)


def _with_other_weights() -> object:
    """The network of :func:`lowered` with twice the result, by a kernel more."""
    network = lowered()
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType(SHAPE, "float32"))

    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.conv2d(x, relax.const(weight()), padding=1))
            y = builder.emit(relax.op.nn.relu(y))
            y = builder.emit(relax.op.mean(y, [2, 3]))
            y = builder.emit_output(relax.op.add(y, y))
        builder.emit_func_output(y)
    with Target(network.board.tvm_target()):
        return transform.LegalizeOps()(builder.get())


def test_several_outputs_of_several_types(tmp_path: Path) -> None:
    """One of them the input itself."""
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType(SHAPE, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            mean = builder.emit(relax.op.mean(x, [2, 3]))
            best = builder.emit(relax.op.argmax(mean, 1))
            result = builder.emit_output(relax.Tuple([mean, best, x, mean]))
        builder.emit_func_output(result)
    network = lowered()
    with Target(network.board.tvm_target()):
        module = transform.LegalizeOps()(builder.get())
    names = [
        ("mean", (1, 3), "float32"), ("best", (1,), "int64"), ("x", SHAPE, "float32"),
        ("again", (1, 3), "float32"),
    ]  # fmt: skip
    network = replace(
        network, mod=module, kernels=[], outputs=[TensorInfo(*name) for name in names]
    )
    want = sample().mean((2, 3))
    expected = [want, want.argmax(1), sample(), want]
    path = write_bundle(network, tmp_path / "b", sample=[sample()], expected=expected)
    bundle = load(path)
    assert bundle.check() < 1e-5
    first, second = bundle(sample()), bundle(-sample())
    assert isinstance(first, tuple)
    assert [output.dtype for output in first] == ["float32", "int64", "float32", "float32"]
    np.testing.assert_allclose(first[0], want, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(first[0], first[3])
    np.testing.assert_array_equal(first[1], want.argmax(1))
    np.testing.assert_array_equal(second[1], (-want).argmax(1))
    np.testing.assert_array_equal(second[2], -sample())
    assert_size_stays(bundle, 200, 3000)


def test_threads_take_turns(pristine: Path) -> None:
    """One bundle, several threads: each gets the result of its own input."""
    bundle = load(pristine)
    scales = iter(range(1, 100))

    def work() -> None:
        scale = next(scales)
        for _ in range(200):
            found = bundle(sample() * scale)
            np.testing.assert_allclose(found, reference(sample()) * scale, rtol=1e-4)

    in_threads(4, work)


def test_bundles_of_their_own_run_beside_each_other(pristine: Path) -> None:
    def work() -> None:
        bundle = load(pristine)
        for _ in range(100):
            np.testing.assert_allclose(bundle(sample()), reference(sample()), rtol=1e-4)

    in_threads(4, work)


@pytest.mark.parametrize("count", [1, 2])
def test_forks(pristine: Path, count: int) -> None:
    """A parent that has run forks, idle or not; parent and child run on, and the child ends."""
    if count > len(os.sched_getaffinity(0)):
        pytest.skip("needs two cores")
    bundles = [load(pristine, threads=count), load(pristine, threads=1)]
    want = reference(sample())
    for pause in (0.0, 0.4):
        for bundle in bundles:
            bundle(sample())
        threading.Event().wait(pause)
        child = os.fork()
        if child == 0:
            ok = all(np.allclose(bundle(sample()), want, rtol=1e-4) for bundle in bundles)
            ok = ok and np.allclose(load(pristine)(sample()), want, rtol=1e-4)
            bundles.clear()
            gc.collect()
            os._exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0
        for bundle in bundles:
            np.testing.assert_allclose(bundle(sample()), want, rtol=1e-4)


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
