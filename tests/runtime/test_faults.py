"""What an instance and a model do when they are used in ways that nobody planned."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.runtime import library, toy
from tvm_flow.bundle import plan_file
from tvm_flow.ir.plan import Place, Plan, PlannedKernel, PlannedTensor, Step

BUSY, BUNDLE, ENVIRONMENT, USAGE = (
    library.BUSY, library.BUNDLE, library.ENVIRONMENT, library.USAGE,
)  # fmt: skip
SHARED_WEIGHTS = 1
X, BIAS = toy.network().samples
Y = toy.network().expected[0]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(toy.network(2), tmp_path_factory.mktemp("faults") / "network")


@pytest.fixture(scope="module")
def pause(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(toy.pause(), tmp_path_factory.mktemp("faults") / "pause")


def refused(status: int, sentence: str, name: str, *arguments: object) -> None:
    with pytest.raises(library.Refused, match=sentence) as caught:
        library.call(name, *arguments)
    assert caught.value.status == status


def is_loaded(folder: Path) -> bool:
    return f"{folder}/model.so" in Path("/proc/self/maps").read_text()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


# ---- One instance, several threads


def test_while_it_runs_everything_is_refused(pause: Path) -> None:
    times = (ctypes.c_uint64 * 9)()
    with library.open_bundle(pause) as net:
        net.fill(np.array(300))
        library.call("tvmf_start", net.handle)
        for name, *arguments in [
            ("tvmf_run",), ("tvmf_start",), ("tvmf_close",), ("tvmf_profile", times),
            ("tvmf_time", 0, 1, times), ("tvmf_bind_input", 0, None, 0),
            ("tvmf_bind_output", 0, None, 0), ("tvmf_read_input", 0, b"x.npy"),
            ("tvmf_check", bytes(pause), None),
        ]:  # fmt: skip
            refused(BUSY, "the instance is", name, net.handle, *arguments)
        waiter = threading.Thread(target=library.call, args=("tvmf_wait", net.handle))
        waiter.start()
        waiter.join(30)
        assert net.outputs[0] == 300
        net.fill(np.array(1))
        assert net.run()[0] == 1


def test_waiting_without_a_run(pause: Path) -> None:
    with library.open_bundle(pause) as net:
        refused(USAGE, "no run to wait for", "tvmf_wait", net.handle)
        net.fill(np.array(1))
        library.call("tvmf_start", net.handle)
        library.call("tvmf_wait", net.handle)
        refused(USAGE, "no run to wait for", "tvmf_wait", net.handle)
    refused(USAGE, "no run to wait for", "tvmf_wait", None)


def test_whoever_waits_is_told_why_the_run_failed(pause: Path) -> None:
    with library.open_bundle(pause) as net:
        net.fill(np.array(-1))
        library.call("tvmf_start", net.handle)
        refused(ENVIRONMENT, "kernel pause_for failed", "tvmf_wait", net.handle)
        net.fill(np.array(2))
        assert net.run()[0] == 2


# ---- Unloading


def test_unloaded_while_instances_live(tmp_path: Path) -> None:
    folder = toy.write(toy.network(2), tmp_path / "toy")
    model = library.Model.load(folder)
    nets = [model.open() for _ in range(2)]
    model.unload()
    for net in nets:
        net.fill(X, BIAS)
        assert np.array_equal(net.run()[0], Y)
        assert is_loaded(folder)
        net.close()
    assert not is_loaded(folder)


def test_unloaded_while_it_runs(tmp_path: Path) -> None:
    folder = toy.write(toy.pause(), tmp_path / "toy")
    model = library.Model.load(folder)
    net = model.open()
    net.fill(np.array(100))
    library.call("tvmf_start", net.handle)
    model.unload()
    refused(BUSY, "running and cannot be closed", "tvmf_close", net.handle)
    library.call("tvmf_wait", net.handle)
    assert is_loaded(folder)
    net.close()
    assert not is_loaded(folder)


def test_many_bundles_with_the_same_names_of_kernels(tmp_path: Path) -> None:
    """Each keeps its own code and weights; one takes the place of another that is loaded."""
    made = toy.network()
    bundles = []
    for factor in range(1, 9):
        source = made.source.replace("* job->weights[i]", f"* job->weights[i] * {factor}")
        bundle = replace(made, source=source, threads=1 + factor % 2)
        staged = toy.write(bundle, tmp_path / f"{factor}")
        if factor % 2:
            (tmp_path / "place").mkdir(exist_ok=True)
            for path in staged.iterdir():
                path.replace(tmp_path / "place" / path.name)
            staged = tmp_path / "place"
        model = library.Model.load(staged)
        bundles.append((np.float32(factor), model, model.open()))
    for _ in range(3):
        for factor, _, net in bundles:
            net.fill(X, BIAS)
            assert np.allclose(net.run()[0], Y * factor, rtol=1e-6)
    for _, model, net in bundles:
        net.close()
        model.unload()


# ---- Runs and loads leave nothing behind


def assert_no_growth(few: int, many: int, action: Callable[[], object]) -> None:
    for _ in range(few):
        action()
    before, files = resident(), len(os.listdir("/proc/self/fd"))
    tasks = len(os.listdir("/proc/self/task"))
    for _ in range(many):
        action()
    assert resident() < before + 2**20
    assert len(os.listdir("/proc/self/fd")) == files
    assert library.threads_beyond(tasks) == 0


@pytest.mark.parametrize("runs", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_runs_do_not_grow(network: Path, runs: int) -> None:
    with library.open_bundle(network) as net:
        net.fill(X, BIAS)

        def run() -> None:
            library.call("tvmf_run", net.handle)

        assert_no_growth(500, runs, run)


@pytest.mark.parametrize("loads", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_loads_do_not_grow(network: Path, loads: int) -> None:
    """Neither good ones nor those that are refused at the last moment."""
    made = toy.network(2)
    code = (network / "model.so").read_bytes()
    plan = toy.plan_of(made, code)
    other = toy.plan_of(replace(made, source=""), code).replace(b"positive", b"negative")

    def load() -> None:
        with library.open_bundle(network) as net:
            net.fill(X, BIAS)
            library.call("tvmf_start", net.handle)
            library.call("tvmf_wait", net.handle)
        library.Model.from_memory(plan, made.weights, code).unload()
        with pytest.raises(library.Refused, match="lacks the kernel negative"):
            library.Model.from_memory(resealed(other), made.weights, code)

    assert_no_growth(20, loads, load)


def test_kernels_that_fail_leave_no_memory_taken(tmp_path: Path) -> None:
    """What a kernel asked for and did not free, since it failed, is free again."""
    leaky = """
    static int part(int task, tvmf_parallel_env* env, void* data) {
      void* taken = __TVMBackendAllocWorkspace(1, 0, 100 + task, 0, 8);
      if (!taken || **(int64_t**)data < 0) return -1;
      return __TVMBackendFreeWorkspace(1, 0, taken);
    }
    int pause_for(void* wanted, void* done) {
      void* taken[2];
      for (int i = 0; i < 2; i++) taken[i] = __TVMBackendAllocWorkspace(1, 0, 0, 0, 8);
      if (!taken[0] || !taken[1] || __TVMBackendParallelLaunch(part, &wanted, 0)) return -1;
      memcpy(done, wanted, sizeof(int64_t));
      for (int i = 2; i--;) if (__TVMBackendFreeWorkspace(1, 0, taken[i])) return -1;
      return 0;
    }
    """
    folder = toy.write(replace(toy.pause(), source=leaky, threads=2), tmp_path / "toy")
    with library.open_bundle(folder) as net:
        for _ in range(200):
            net.fill(np.array(-1))
            refused(ENVIRONMENT, "kernel pause_for failed", "tvmf_run", net.handle)
        net.fill(np.array(5))
        assert net.run()[0] == 5


@pytest.mark.parametrize("order", ["i", "count - 1 - i", "i * 7 % count"])
def test_kernels_may_give_memory_back_in_any_order(tmp_path: Path, order: str) -> None:
    """Fifty blocks of growing and shrinking sizes, each its own until it is given back."""
    many = f"""
    int pause_for(void* wanted, void* done) {{
      enum {{ count = 50 }};
      int64_t* taken[count];
      for (int i = 0; i < count; i++) {{
        taken[i] = __TVMBackendAllocWorkspace(1, 0, 64 * (1 + i * 13 % 17), 0, 8);
        if (!taken[i]) return -1;
        *taken[i] = i;
      }}
      for (int i = 0; i < count; i++) if (*taken[i] != i) return -1;
      for (int i = 0; i < count; i++)
        if (__TVMBackendFreeWorkspace(1, 0, taken[{order}])) return -1;
      memcpy(done, wanted, sizeof(int64_t));
      return 0;
    }}
    """
    folder = toy.write(replace(toy.pause(), source=many), tmp_path / "toy")
    with library.open_bundle(folder) as net:
        net.fill(np.array(5))
        for _ in range(100):
            assert net.run()[0] == 5


# ---- Arguments


def aligned(bytes_: int, alignment: int) -> tuple[ctypes.Array[ctypes.c_char], int]:
    """A block, which is to be kept, and an address in it."""
    block = ctypes.create_string_buffer(bytes_ + alignment)
    return block, -(-ctypes.addressof(block) // alignment) * alignment


def test_binding_memory(network: Path) -> None:
    given, at_x = aligned(X.nbytes, toy.ALIGNMENT)
    taken, at_y = aligned(X.nbytes, toy.ALIGNMENT)
    with library.open_bundle(network) as net:
        bind_input, bind_output = "tvmf_bind_input", "tvmf_bind_output"
        refused(USAGE, "must begin at a multiple of 64", bind_input, net.handle, 0, at_x + 4, 240)
        refused(USAGE, "must begin at", bind_output, net.handle, 0, at_y + 32, 240)
        refused(USAGE, "x needs 240 bytes, 239 were given", bind_input, net.handle, 0, at_x, 239)
        refused(USAGE, "y needs 240 bytes, 0", bind_output, net.handle, 0, at_y, 0)
        for index in (-1, 2, 2**31 - 1):
            refused(USAGE, "no input or output", bind_input, net.handle, index, at_x, 240)
        refused(USAGE, "no instance", bind_input, None, 0, at_x, 240)
        net.fill(X, BIAS)
        want = net.run()[0]
        ctypes.memmove(at_x, (2 * X).tobytes(), X.nbytes)
        library.call(bind_input, net.handle, 0, at_x, 240)
        library.call(bind_output, net.handle, 0, at_y, 240)
        library.call("tvmf_run", net.handle)
        found = np.frombuffer(ctypes.string_at(at_y, 240), np.float32).reshape(X.shape)
        assert np.array_equal(found, 2 * want)
        for name in (bind_input, bind_output):
            library.call(name, net.handle, 0, None, 0)
        assert np.array_equal(net.run()[0], want)
        assert ctypes.string_at(at_y, 240) == (2 * want).tobytes()
    assert given is not taken


def test_times_and_profiles(network: Path) -> None:
    with library.open_bundle(network) as net:
        net.fill(X, BIAS)
        times = (ctypes.c_uint64 * 7)(*[0] * 7)
        for warm_up, runs in [(-1, 1), (0, 0), (0, -1), (1, -(2**31))]:
            refused(USAGE, "cannot time", "tvmf_time", net.handle, warm_up, runs, times)
        refused(USAGE, "no place for times", "tvmf_time", net.handle, 0, 1, None)
        refused(USAGE, "there is no instance", "tvmf_time", None, 0, 1, times)
        library.call("tvmf_time", net.handle, 2, 5, times)
        assert all(times[:5])
        assert list(times[5:]) == [0, 0]
        library.call("tvmf_profile", net.handle, times)
        assert list(times[4:]) != [0, 0, 0]
        assert library.library().tvmf_step_name(net.handle, 4) is None
        assert library.library().tvmf_step_name(net.handle, -1) is None
        net.fill(X * np.float32("nan"), BIAS)
        refused(USAGE, "input x contains NaN", "tvmf_time", net.handle, 0, 1, times)
        refused(USAGE, "input x contains NaN", "tvmf_profile", net.handle, times)


def test_nan_in_the_buffers_unless_they_are_unchecked(network: Path) -> None:
    for value in ("nan", "inf", "-inf"):
        with library.open_bundle(network) as net:
            net.fill(np.where(X.max() == X, np.float32(value), X), BIAS)
            refused(USAGE, "input x contains NaN or infinity", "tvmf_run", net.handle)
            net.fill(X, BIAS)
            assert np.array_equal(net.run()[0], Y)
        with library.open_bundle(network, flags=library.UNCHECKED) as net:
            net.fill(X * np.float32(value), BIAS)
            assert not np.isfinite(net.run()[0]).all()


_STEP = """
int step(void* x, void* y) {
  for (int i = 0; i < 16; i++) ((T*)y)[i] = ((float*)x)[i] < 0 ? 0 : (T)((float*)x)[i];
  return 0;
}
"""


@pytest.mark.parametrize("kind", ["float", "int"])
def test_infinity_that_does_not_reach_an_output(tmp_path: Path, kind: str) -> None:
    """As in a mask. Whole numbers would not show NaN either, so that inputs are looked at."""
    dtype = {"float": "float32", "int": "int32"}[kind]
    tensors = tuple(
        PlannedTensor(place, (16,), its, 0)
        for place, its in ((Place.INPUT, "float32"), (Place.OUTPUT, dtype))
    )
    kernel = PlannedKernel("step", (64, 64), 1)
    plan = Plan(tensors, (0,), (1,), (kernel,), (Step(0, (0, 1)),), 0, 0, 0)
    source = _STEP.replace("T", kind)
    with library.open_bundle(
        toy.write(toy.Toy(plan, ("x",), ("y",), source), tmp_path / "t")
    ) as net:
        mask = np.full(16, -np.inf, np.float32)
        net.fill(mask)
        if kind == "int":
            refused(USAGE, "input x contains NaN or infinity", "tvmf_run", net.handle)
        else:
            assert not net.run()[0].any()
        mask[3] = np.nan
        net.fill(mask)
        refused(USAGE, "input x contains NaN or infinity", "tvmf_run", net.handle)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shapes": 1}, "no set of shapes 1, the bundle has 1"),
        ({"shapes": -1}, "no set of shapes -1"),
        ({"threads": -1}, "options that make no sense"),
        ({"flags": 64}, "options that make no sense"),
        ({"threads": 1024}, "1024 thread"),
        ({"threads": 2, "cores": [0]}, "2 thread.*1 core"),
        ({"cores": [-1]}, "cores that cannot be"),
        ({"cores": [0, 1024]}, "cores that cannot be"),
        ({"cores": [0] * 1025}, "cores that cannot be"),
    ],
)
def test_options(network: Path, options: dict[str, int], sentence: str) -> None:
    model = library.Model.load(network)
    with pytest.raises(library.Refused, match=sentence) as caught:
        model.open(**options)
    assert caught.value.status == USAGE
    model.unload()


def test_nothing_to_load(network: Path) -> None:
    handle = ctypes.byref(ctypes.c_void_p())
    refused(USAGE, "no bundle in this library.*--single-file", "tvmf_load", None, 0, handle)
    refused(USAGE, "unknown flags", "tvmf_load", bytes(network), 2, handle)
    refused(USAGE, "no place", "tvmf_load", bytes(network), 0, None)
    refused(USAGE, "was given no plan", "tvmf_load_memory", None, 0, None, 0, b"", 0, handle)
    refused(BUNDLE, "it is no plan", "tvmf_load_memory", b"", 0, None, 0, b"", 0, handle)
    refused(USAGE, "no model or instance", "tvmf_open", None, None, handle)
    library.library().tvmf_unload(None)
    library.call("tvmf_close", None)


# ---- From memory


@pytest.mark.parametrize("offset", [0, 1, 4, 63])
def test_weights_in_memory_wherever_they_lie(network: Path, offset: int) -> None:
    made = toy.network(2)
    code = (network / "model.so").read_bytes()
    plan = toy.plan_of(made, code)
    block, start = aligned(len(made.weights) + 64, 64)
    ctypes.memmove(start + offset, made.weights, len(made.weights))
    model = library.Model()
    library.call(
        "tvmf_load_memory", plan, len(plan), start + offset, len(made.weights), code, len(code),
        ctypes.byref(model.handle),
    )  # fmt: skip
    net = model.open()
    net.fill(X, BIAS)
    assert np.array_equal(net.run()[0], Y)
    ctypes.memset(start, 0, len(made.weights) + 64)  # used where they lie, or copied
    assert np.array_equal(net.run()[0], Y if offset else Y * 0)
    net.close()
    model.unload()
    assert block is not None


# ---- Plans that agree with themselves


def resealed(plan: bytes) -> bytes:
    body = plan[32:]
    return plan[:16] + struct.pack("<QQ", len(plan), library.checksum(body)) + body


def test_a_plan_with_two_processors(network: Path) -> None:
    """A tensor in the memory of the second one, of which there is none, would lie anywhere."""
    made = toy.network()
    code = (network / "model.so").read_bytes()
    plan = toy.plan_of(made, code)
    kernels = struct.pack("<I", len(made.plan.kernels)) + struct.pack("<I", 5) + b"scale"
    for old, new in [
        (struct.pack("<2I", 1, 1) + kernels, struct.pack("<3I", 2, 1, 1) + kernels),
        (struct.pack("<Q2I", 256, 2, 3), struct.pack("<2Q2I", 256, 2**45, 2, 3)),
        (plan_file._tensor(made.plan.tensors[3]), b"\0\1" + plan_file._tensor(
            replace(made.plan.tensors[3], offset=2**44))[2:]),
    ]:  # fmt: skip
        assert plan.count(old) == 1
        plan = plan.replace(old, new)
    model = library.Model.from_memory(resealed(plan), made.weights, code)
    with pytest.raises(library.Refused, match="a device that this library cannot drive") as caught:
        model.open()
    assert caught.value.status == BUNDLE
    model.unload()


def test_a_plan_whose_inputs_are_larger_than_all_memory_together(network: Path) -> None:
    """Each is possible, and the sum of their bytes is 0 in 64 bits."""
    count, shape = 2**16, (2**45,)
    tensors = tuple(PlannedTensor(Place.INPUT, shape, "float64", n) for n in range(count))
    plan = Plan(tensors, tuple(range(count)), (), (), (), 0, 0, 0)
    code = (network / "model.so").read_bytes()
    data = toy.plan_of(toy.Toy(plan, ("x",) * count, ()), code)
    with pytest.raises(library.Refused, match="inputs and outputs are larger than memory"):
        library.Model.from_memory(data, b"", code)


def test_a_plan_that_asks_for_more_memory_than_there_is(network: Path) -> None:
    code = (network / "model.so").read_bytes()
    made = toy.copies(((2**43,), "float32"))
    model = library.Model.from_memory(toy.plan_of(made, code), b"", code)
    with pytest.raises(library.Refused, match=r"not enough memory to run toy: it needs \d+ bytes"):
        model.open()
    model.unload()
