"""Times single kernels in turns: ``python -m benchmarks.kernels WORKLOAD[;KNOB=N,...] ...``.

Each argument is a problem, a colon and an algorithm, spelt as in records and by ``tvm-flow profile
--json``, with the default schedule or with some knobs changed; several are several ways to compute
something. Weights are met cold, as in a network whose weights take ``--cold-mib`` MiB (0: as cold
as L2 makes them).

Example: what Strassen's product does for a block of FasterNet-S, with 64 MiB of weights:

python -m benchmarks.kernels --cold-mib 64 \\
  "pconv_block(act=relu,c=512,cc=128,h=14,hidden=1024,k=3,n=1,res=pre,w=14):winograd2;rb=14" \\
  "pconv_block(act=relu,c=512,cc=128,h=14,hidden=1024,k=3,n=1,res=pre,w=14):winograd2_strassen;rb=14"
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads spin for 0.1 s after computing a reference

import numpy as np

from tvm_flow.support.without_torch import without_torch

with without_torch():  # it has no use here
    from tvm_flow import targets
    from tvm_flow.backends.cpu import CPU, cpu_of
    from tvm_flow.measure import roofline
    from tvm_flow.measure.kernel_timer import KernelTimer, time_in_turns
    from tvm_flow.schedules import registry
    from tvm_flow.schedules.contract.algorithm import Knobs
    from tvm_flow.schedules.contract.problem import Workload
    from tvm_flow.support.errors import TuningError, TvmFlowError, UsageError
    from tvm_flow.targets import Board
    from tvm_flow.tuning.options import TuneOptions
    from tvm_flow.tuning.worker import kernel_build, kernel_run
    from tvm_flow.tuning.worker.protocol import (
        BuildRequest,
        Candidate,
        KernelRequest,
        TrialRequest,
        TrialSettings,
    )
    from tvm_flow.tuning.worker.trial_data import WrongResult


def parse(text: str, board: Board, threads: int) -> tuple[Workload, Knobs]:
    """A command line argument. Raises :class:`UsageError`."""
    key, _, changes = text.partition(";")
    try:
        workload = Workload.parse(key)
        changed = {name: int(value) for name, _, value in
                   (item.partition("=") for item in filter(None, changes.split(",")))}  # fmt: skip
        knobs = CPU.algorithm(workload).default(workload.problem, cpu_of(board, threads))
    except (KeyError, ValueError) as error:
        fix = "copy one from tvm-flow records show"
        raise UsageError(f"Cannot read {text!r}", why=str(error), fix=fix) from error
    if unknown := changed.keys() - knobs.keys():
        what, known = ", ".join(sorted(unknown)), ", ".join(sorted(knobs))
        raise UsageError(
            f"{workload.problem.op} {workload.algorithm} has no knob {what}", fix=f"one of {known}"
        )
    return workload, {**knobs, **changed}


def candidate(
    text: str, board: Board, threads: int, cold_bytes: int, folder: Path
) -> tuple[Workload, KernelTimer]:
    """Build and check one kernel. Raises :class:`TuningError` for one that cannot be timed."""
    workload, knobs = parse(text, board, threads)
    cpu, algorithm = cpu_of(board, threads), CPU.algorithm(workload)
    kernel = KernelRequest.of(workload, algorithm, board, cpu)
    library = Path(tempfile.mkdtemp(dir=folder)) / "kernel.so"
    built = kernel_build.build(BuildRequest(kernel, knobs, library))
    if not built.ok:
        raise TuningError(f"{text} cannot be built", why=built.cause)
    settings = TrialSettings.of(TuneOptions(cold_bytes=cold_bytes), folder, seed=0)
    request = TrialRequest(kernel, settings)
    try:
        given = kernel_run.data_of(request)
        timer = kernel_run.timer_of(given, Candidate(library, built.shapes), request)
    except WrongResult as error:
        raise TuningError(f"{text} computes wrong numbers", why=str(error)) from error
    return workload, timer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kernels", nargs="+", metavar="WORKLOAD")
    parser.add_argument("--cold-mib", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=51)
    arguments = parser.parse_args()
    board, threads = targets.load("native"), arguments.threads
    os.sched_setaffinity(0, board.cores[:threads])
    try:
        with tempfile.TemporaryDirectory(prefix="tvm-flow-kernels-") as folder:
            made = [
                candidate(text, board, threads, arguments.cold_mib << 20, Path(folder))
                for text in arguments.kernels
            ]
            timers = [timer for _, timer in made]
            time_in_turns(timers, TuneOptions().trial_budget_s, arguments.rounds)
    except TvmFlowError as error:
        sys.exit(f"error: {error}")
    peak = roofline.peak_of(board, threads)
    for text, (workload, timer) in zip(arguments.kernels, made, strict=True):
        seconds = float(np.median(timer.repeats or timer.disturbed))
        gflops = 2 * registry.operator(workload.problem.op).macs(workload.problem) / seconds / 1e9
        print(f"{1e6 * seconds:9.1f} us {gflops:7.1f} GFLOP/s {gflops / peak:5.0%}  {text}")
    if any(not timer.repeats for timer in timers):
        print("not valid: other load had the core all the time", file=sys.stderr)


if __name__ == "__main__":
    main()
