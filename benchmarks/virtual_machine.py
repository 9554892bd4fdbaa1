"""A bundle against TVM's virtual machine with the same kernels.

``python -m benchmarks.virtual_machine``

Each network is compiled twice, into a bundle and as a library for ``relax.VirtualMachine``
(``--format tvm``), and run by libtvm_flow and by TVM in turns, in one process. Both time
themselves, without Python in between. Above 1: the bundle is faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import tvm_flow

NETWORKS = ("shufflenet_v2_x0_5", "mobilenet_v3_small", "mobilenet_v2", "fasternet_t0")
#: Seconds of one run.
Timer = Callable[[], float]


def timers(model: str, folder: Path, threads: int, runs: int) -> tuple[Timer, Timer]:
    """The median of ``runs`` runs of the bundle, and of the virtual machine."""
    import numpy as np  # noqa: PLC0415
    import tvm  # noqa: PLC0415 - it reads TVM_NUM_THREADS when it is imported
    from tvm import relax  # noqa: PLC0415

    made = tvm_flow.compile(model, output=folder / "bundle", threads=threads)
    library = tvm_flow.compile(model, output=folder / "m.so", threads=threads, format="tvm")
    bundle = tvm_flow.load(made.path, threads=threads)
    bundle.set_inputs()
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(library.path)), tvm.cpu())
    arrays = [tvm.runtime.tensor(np.array(array)) for array in bundle.buffers]
    machine.set_input("main", *arrays)
    evaluator = machine.time_evaluator("invoke_stateful", tvm.cpu(), number=1, repeat=runs)
    return (
        lambda: statistics.median(bundle.seconds(runs)),
        lambda: statistics.median(evaluator("main").results),
    )


def ratios(pair: tuple[Timer, Timer], rounds: int) -> list[tuple[float, float]]:
    """Seconds of both, one pair per round; each goes first in every other round."""
    for timer in pair:
        timer()  # warm-up
    taken = []
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        times = {which: pair[which]() for which in order}
        taken.append((times[0], times[1]))
    return taken


def report(model: str, taken: Sequence[tuple[float, float]]) -> str:
    ours, theirs = (1e3 * statistics.median(column) for column in zip(*taken, strict=True))
    each = sorted(machine / bundle for bundle, machine in taken)
    ratio = statistics.median(each)
    return (
        f"{model:20} {ours:8.3f} ms  machine {theirs:8.3f} ms  ratio {ratio:.3f} "
        f"({each[0]:.3f} to {each[-1]:.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=25)
    options = parser.parse_args()
    os.environ["TVM_NUM_THREADS"] = str(options.threads)
    for model in options.networks:
        with tempfile.TemporaryDirectory() as name:
            pair = timers(model, Path(name), options.threads, options.runs)
            print(report(model, ratios(pair, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
