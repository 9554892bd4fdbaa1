"""Code quality for Arm cores without a board: ``python -m benchmarks.arm_kernels --help``.

The kernels where a network's time goes, with default schedules, against the core's bound: the
cycles that their multiply-accumulates take at the core's FMLA rate. All figures are modelled
(emulated execution, LLVM's scheduling model of the core); none is measured on a board.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import results
from tvm_flow import targets
from tvm_flow.backends.cpu import CPU, cpu_of
from tvm_flow.modelled.cores import CoreModel
from tvm_flow.modelled.emulate import EmulationFailed, emulate
from tvm_flow.modelled.mca import Analyser
from tvm_flow.modelled.model import cost_of
from tvm_flow.modelled.tools import find_tools
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.operators import conv2d, depthwise
from tvm_flow.support.errors import TuningError
from tvm_flow.targets import Board
from tvm_flow.tuning.worker import kernel_build
from tvm_flow.tuning.worker.protocol import BuildRequest, KernelRequest
from tvm_flow.tuning.worker.trial_data import trial_data

_TOLERANCE = 1e-4
KERNELS: dict[str, Problem] = {
    "pconv_block 56x56x40 (FasterNet-T0)": Problem.make(
        "pconv_block", n=1, h=56, w=56, c=40, cc=10, k=3, hidden=80, act="gelu", res="pre"
    ),
    "pconv_block 14x14x160 (FasterNet-T0)": Problem.make(
        "pconv_block", n=1, h=14, w=14, c=160, cc=40, k=3, hidden=320, act="gelu", res="pre"
    ),
    "1x1 28x28 80>160": conv2d.problem(n=1, h=28, w=28, ci=80, co=160, act="relu"),
    "1x1 28x28 58>58 (ShuffleNetV2)": conv2d.problem(n=1, h=28, w=28, ci=58, co=58, act="relu"),
    "3x3 28x28 64>64": conv2d.problem(
        n=1, h=28, w=28, ci=64, co=64, kh=3, kw=3, ph=1, pw=1, act="relu"
    ),
    "depthwise 28x28x58 (ShuffleNetV2)": depthwise.problem(n=1, h=28, w=28, c=58),
    "depthwise 28x28x116": depthwise.problem(n=1, h=28, w=28, c=116),
}


def modelled(board: Board, workload: Workload, folder: Path) -> dict[str, Any]:
    """Modelled cycles of the default schedule, and the bound. Raises :class:`TuningError`."""
    cpu, model, tools = cpu_of(board), CoreModel.of(board), find_tools(board.arch)
    algorithm, problem = CPU.algorithm(workload), workload.problem
    kernel = KernelRequest.of(workload, algorithm, board, cpu)
    knobs = algorithm.default(problem, cpu)
    library = folder / "kernel.so"
    answer = kernel_build.build(BuildRequest(kernel, knobs, library))
    if not answer.ok:
        raise TuningError(f"{workload} was not built for {board.name}", why=answer.cause)
    given = trial_data(
        workload.key, cpu, algorithm_module=kernel.algorithm_module, seed=0,
        cache=str(folder),
    )  # fmt: skip
    buffers = given.buffers()
    try:
        trace = emulate(
            str(library), buffers, answer.shapes, model=model, tools=tools, folder=folder,
            timeout_s=120,
        )  # fmt: skip
    except EmulationFailed as error:
        raise TuningError(f"{workload} did not run for {board.name}", why=str(error)) from error
    given.check(buffers, _TOLERANCE)
    analyser = Analyser(tools.disassembler, tools.analyser, model.triple, model.core.mca)
    cost = cost_of(trace, model, analyser)
    per_cycle = board.lanes * board.cluster_of(board.cores[0]).fma_per_cycle
    bound = algorithm.operator.macs(problem) / per_cycle
    return {
        "knobs": knobs, "bound_cycles": bound, "compute_cycles": cost.compute,
        "cycles": cost.cycles, "instructions": cost.instructions,
        "share_of_bound": bound / cost.cycles,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default="rk3399,rk3399-little", help="separated by commas")
    parser.add_argument(
        "--out", type=Path, default=results.path_for("arm-kernels", machine="boards")
    )
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tvm-flow-arm-") as name:
        for target in given.targets.split(","):
            board = targets.load(target)
            for title, problem in KERNELS.items():
                row = modelled(board, Workload(problem, "direct"), Path(name))
                rows.append({"target": target, "mcpu": board.mcpu, "kernel": title, **row})
                print(
                    f"{board.mcpu:12} {title:38} modelled {row['cycles']:>9.0f} cycles "
                    f"({row['compute_cycles']:>9.0f} without misses), "
                    f"bound {row['bound_cycles']:>9.0f}: "
                    f"{row['share_of_bound']:4.0%} of the FMLA rate"
                )
    results.write_modelled("arm-kernels", given.out, kernels=rows)


if __name__ == "__main__":
    results.in_words(main)
