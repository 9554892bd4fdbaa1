"""How long candidates take to compile: ``python -m benchmarks.compile_time --help``.

Draws knobs at random for every kernel of a network, as a tuner does at first, and times what a
build worker does with them, in CPU time of this process: generate the tensor program, lower and
optimise it, write the object file. ``--standard`` uses TVM's own pass pipeline instead of the
project's, for comparison.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tvm
from tvm import tirx

from tvm_flow import targets
from tvm_flow.api.networks import load_model, to_graph
from tvm_flow.backends import CPU
from tvm_flow.schedules.contract.algorithm import InvalidKnobs, Knobs
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.cpu import lowering
from tvm_flow.support.errors import TvmFlowError
from tvm_flow.targets import Board

Compiler = Callable[[tirx.PrimFunc], tvm.runtime.Executable]
STEPS = ("generate", "lower and optimise", "write the object")


def steps(
    workload: Workload, board: Board, knobs: Knobs, compiled: Compiler, path: Path
) -> list[float]:
    """CPU seconds of each of the :data:`STEPS`. Raises ``InvalidKnobs``."""
    algorithm, device = CPU.algorithm(workload), CPU.device(board)
    times = [time.process_time()]
    kernel = algorithm.build(workload.problem, device, knobs, "candidate")
    times.append(time.process_time())
    built = compiled(kernel)
    times.append(time.process_time())
    built.mod.write_to_file(str(path), "o")
    times.append(time.process_time())
    return list(np.diff(times))


def drawn(
    workload: Workload, board: Board, source: random.Random, compiled: Compiler, path: Path
) -> list[float]:
    """:func:`steps` for knobs drawn at random that a kernel exists for."""
    space = CPU.algorithm(workload).space(workload.problem, CPU.device(board))
    while True:
        knobs = {name: source.choice(choices) for name, choices in space.items()}
        try:
            return steps(workload, board, knobs, compiled, path)
        except InvalidKnobs:
            continue


def by_ours(kernel: tirx.PrimFunc, board: Board) -> tvm.runtime.Executable:
    """Compiled as the tuner does."""
    return lowering.compile_kernel(kernel, board.tvm_target())


def by_standard(kernel: tirx.PrimFunc, board: Board) -> tvm.runtime.Executable:
    """Compiled by TVM's own pipeline, but for storage rewrite, which would make other kernels."""
    settings = {"tirx.disable_storage_rewrite": True}
    with tvm.transform.PassContext(opt_level=3, config=settings):
        target = tvm.target.Target(board.tvm_target())
        return tvm.compile(tvm.IRModule({"candidate": kernel}), target=target)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="fasternet_t0")
    parser.add_argument("--target", default="native")
    parser.add_argument("--candidates", type=int, default=3, help="of every kernel")
    parser.add_argument("--standard", action="store_true", help="TVM's own pass pipeline")
    arguments = parser.parse_args()
    try:
        board = targets.load(arguments.target)
        loaded = load_model(arguments.model)
        tasks = CPU.tasks(CPU.optimise(to_graph(loaded), board), CPU.device(board))
    except TvmFlowError as error:
        sys.exit(f"error: {error}")
    gc.freeze()  # as in a build worker
    compiled = partial(by_standard if arguments.standard else by_ours, board=board)
    source = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.o"
        found = [
            drawn(task.workload, board, source, compiled, path)
            for task in tasks
            for _ in range(arguments.candidates)
        ]
    columns = zip((*STEPS, "together"), [*np.transpose(found), np.sum(found, 1)], strict=True)
    for name, seconds in columns:
        mean, median = 1e3 * np.mean(seconds), 1e3 * np.median(seconds)
        print(f"{mean:7.0f} ms mean, {median:7.0f} median  {name}")
    print(f"{len(found)} candidates of {arguments.model}, {board.name}")


if __name__ == "__main__":
    main()
