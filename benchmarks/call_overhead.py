"""What a call of a kernel costs in a bundle: ``python -m benchmarks.call_overhead``.

A network of kernels that do nothing, timed by libtvm_flow itself: nanoseconds per call, and of a
run besides its calls. ``--threads`` above 1: each kernel is a parallel loop that does nothing.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
from pathlib import Path

from tests.runtime.library import GLIBC
from tests.runtime.toy import Toy, write
from tvm_flow.ir.plan import Place, Plan, PlannedKernel, PlannedTensor, Step
from tvm_flow.runtime.bundle import Bundle
from tvm_flow.toolchain.runtime_library import runtime_library

_ALONE = "int nothing(void* x, void* w, void* b, void* y) { return 0; }\n"
_SHARED = """
static int part(int task, tvmf_parallel_env* env, void* data) { return 0; }
int nothing(void* x, void* w, void* b, void* y) {
  return __TVMBackendParallelLaunch(part, x, 0);
}
"""


def network(calls: int, threads: int) -> Toy:
    """``calls`` kernels of four arguments each."""
    shape = (16,)
    tensors = (
        PlannedTensor(Place.INPUT, shape, "float32", 0),
        PlannedTensor(Place.WEIGHTS, shape, "float32", 0),
        PlannedTensor(Place.OUTPUT, shape, "float32", 0),
    )
    kernel = PlannedKernel("nothing", (64, 64, 64, 64), 1)
    steps = tuple(Step(0, (0, 1, 1, 2)) for _ in range(calls))
    plan = Plan(tensors, (0,), (2,), (kernel,), steps, 0, 0, 64)
    source = _ALONE if threads == 1 else _SHARED
    return Toy(plan, ("x",), ("y",), source, bytes(64), threads=threads)


def nanoseconds(calls: int, threads: int, runs: int) -> float:
    """Median time of a run."""
    with tempfile.TemporaryDirectory() as name:
        folder = write(network(calls, threads), Path(name) / "bundle")
        (folder / "lib").symlink_to(runtime_library(platform.machine(), GLIBC))
        bundle = Bundle(folder, threads=threads)
        return 1e9 * statistics.median(bundle.seconds(runs, 20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=300)
    options = parser.parse_args()
    none, all_of_them = (
        nanoseconds(calls, options.threads, options.runs) for calls in (0, options.calls)
    )
    each = (all_of_them - none) / options.calls
    print(f"{each:.1f} ns per call, {none:.0f} ns per run besides, {options.threads} thread(s)")


if __name__ == "__main__":
    main()
