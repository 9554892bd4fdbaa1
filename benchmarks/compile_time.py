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
from pathlib import Path
from typing import Any

import numpy as np
import tvm

import targets
from schedules import lowering
from schedules.base import Cpu, Family, InvalidKnobs, Knobs, Workload
from targets import Board
from tvm_flow.api.networks import load_model, to_graph
from tvm_flow.errors import TvmFlowError
from tvm_flow.passes.pipeline import last_cache, optimise, tasks_of
from tvm_flow.tuning.tasks import cpu_of, family_of

STEPS = ("generate", "lower and optimise", "write the object")


def draw(family: Family, workload: Workload, cpu: Cpu, source: random.Random) -> Knobs:
    """Knobs that a kernel exists for."""
    space = family.space(workload, cpu)
    while True:
        knobs = {name: source.choice(choices) for name, choices in space.items()}
        try:
            family.build(workload, cpu, knobs, "candidate")
        except InvalidKnobs:
            continue
        return knobs


def steps(
    family: Family, workload: Workload, cpu: Cpu, knobs: Knobs, board: Board, *,
    pipeline: str, settings: dict[str, Any], path: Path,
) -> list[float]:  # fmt: skip
    """CPU seconds of each of the :data:`STEPS`."""
    target = tvm.target.Target(board.tvm_target())
    times = [time.process_time()]
    kernel = family.build(workload, cpu, knobs, "candidate")
    times.append(time.process_time())
    with tvm.transform.PassContext(opt_level=3, config=settings):
        module = tvm.IRModule({"candidate": kernel})
        built = tvm.compile(module, target=target, tir_pipeline=pipeline)
    times.append(time.process_time())
    built.mod.write_to_file(str(path), "o")
    times.append(time.process_time())
    return list(np.diff(times))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="fasternet_t0")
    parser.add_argument("--target", default="native")
    parser.add_argument("--candidates", type=int, default=3, help="of every kernel")
    parser.add_argument("--standard", action="store_true", help="TVM's own pass pipeline")
    arguments = parser.parse_args()
    settings = dict(lowering.PASS_CONFIG)
    if arguments.standard:
        settings["tirx.disable_cse_tir"] = False
    try:
        board = targets.load(arguments.target)
        loaded = load_model(arguments.model, weights=None, input_shape=None)
        tasks = tasks_of(optimise(to_graph(loaded), cache_bytes=last_cache(board)))
    except TvmFlowError as error:
        sys.exit(f"error: {error}")
    gc.freeze()  # as in a build worker
    source, cpu, found = random.Random(0), cpu_of(board, 1), []
    with tempfile.TemporaryDirectory() as folder:
        for workload in [task.workload for task in tasks for _ in range(arguments.candidates)]:
            family = family_of(workload, board)
            found.append(
                steps(
                    family, workload, cpu, draw(family, workload, cpu, source), board,
                    pipeline="default" if arguments.standard else lowering.KERNEL_PIPELINE,
                    settings=settings, path=Path(folder) / "candidate.o",
                )
            )  # fmt: skip
    columns = zip((*STEPS, "together"), [*np.transpose(found), np.sum(found, 1)], strict=True)
    for name, seconds in columns:
        mean, median = 1e3 * np.mean(seconds), 1e3 * np.median(seconds)
        print(f"{mean:7.0f} ms mean, {median:7.0f} median  {name}")
    print(f"{len(found)} candidates of {arguments.model}, {board.name}")


if __name__ == "__main__":
    main()
