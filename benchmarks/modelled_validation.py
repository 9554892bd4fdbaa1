"""Does the model rank kernels as a clock does? ``python -m benchmarks.modelled_validation --help``.

The model of :mod:`tvm_flow.modelled` is applied to this machine's own core, as an AVX2 one (QEMU
7.2 has no AVX-512): random schedules of several operators are built, emulated and modelled, then
timed on a pinned core. Reported is Spearman's rank correlation of modelled and measured time,
within each workload and over all schedules of a set (time per multiply-accumulate). A measured time
is the lowest mean of several rounds spread over the whole measurement: other load only ever adds to
it. There are three sets of workloads. The model was changed after looking at the first; looking at
the second as well, accesses across two cache lines were added to it, and the third was chosen to
see whether that holds.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from benchmarks import results
from tvm_flow import targets
from tvm_flow.backends.cpu import CPU, cpu_of
from tvm_flow.measure.kernel_timer import KernelTimer
from tvm_flow.modelled.cores import CORES, Core, CoreModel, core_of
from tvm_flow.modelled.emulate import emulate
from tvm_flow.modelled.mca import Analyser
from tvm_flow.modelled.model import Cost, cost_of
from tvm_flow.modelled.tools import find_tools
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.operators import conv2d, depthwise, pooling
from tvm_flow.support.errors import UsageError
from tvm_flow.targets.native import VARIABLE
from tvm_flow.tuning.worker import kernel_build
from tvm_flow.tuning.worker.protocol import SYMBOL, BuildRequest, KernelRequest
from tvm_flow.tuning.worker.trial_data import Guarded, TrialData, trial_data

_ROUND_S, _REPEATS = 0.003, 3
_TOLERANCE = 1e-4


def _block(h: int, c: int, act: str) -> Problem:
    return Problem.make(
        "pconv_block", n=1, h=h, w=h, c=c, cc=c // 4, k=3, hidden=2 * c, act=act, res="pre"
    )


PROBLEMS = {
    "known": [
        conv2d.problem(n=1, h=28, w=28, ci=80, co=160, act="relu"),
        conv2d.problem(n=1, h=14, w=14, ci=160, co=320, act="gelu"),
        conv2d.problem(n=1, h=28, w=28, ci=58, co=58, act="relu"),
        conv2d.problem(n=1, h=28, w=28, ci=64, co=64, kh=3, kw=3, ph=1, pw=1, act="relu"),
        conv2d.problem(n=1, h=14, w=14, ci=128, co=64, kh=3, kw=3, ph=1, pw=1, act="relu"),
        depthwise.problem(n=1, h=28, w=28, c=116),
        depthwise.problem(n=1, h=56, w=56, c=64, sh=2, sw=2, act="relu6"),
        _block(14, 160, "gelu"),
        _block(28, 80, "relu"),
    ],
    "held-out": [
        conv2d.problem(n=1, h=14, w=14, ci=116, co=116, act="relu"),
        conv2d.problem(n=1, h=28, w=28, ci=32, co=192, act="relu6"),
        conv2d.problem(n=1, h=56, w=56, ci=24, co=48, kh=3, kw=3, ph=1, pw=1, act="relu"),
        conv2d.problem(n=1, h=28, w=28, ci=80, co=160, kh=2, kw=2, sh=2, sw=2),
        depthwise.problem(n=1, h=14, w=14, c=232),
        depthwise.problem(n=1, h=28, w=28, c=144, sh=2, sw=2, act="relu6"),
        _block(7, 320, "gelu"),
        pooling.problem(n=1, h=112, w=112, c=24, kh=3, kw=3, sh=2, sw=2, ph=1, pw=1, mode="max"),
    ],
    "held-out 2": [
        conv2d.problem(n=1, h=28, w=28, ci=24, co=58, act="relu"),
        conv2d.problem(n=1, h=14, w=14, ci=122, co=122, act="relu"),
        depthwise.problem(n=1, h=28, w=28, c=58),
        depthwise.problem(n=1, h=14, w=14, c=116),
        depthwise.problem(n=1, h=28, w=28, c=116, sh=2, sw=2),
    ],
}


@dataclass
class Trial:
    """One schedule; ``measured_s`` in seconds per call, ``cost`` in cycles."""

    among: str  # a key of PROBLEMS
    workload: Workload
    knobs: Knobs
    cost: Cost
    library: Path
    measured_s: float = float("inf")


class Validation:
    """Builds, models and times; files go to ``folder``."""

    def __init__(self, folder: Path, core: Core, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.board = targets.load("native")
        self.buffers: dict[str, list[Guarded]] = {}
        self.cpu, self.tools = cpu_of(self.board), find_tools(self.board.arch)
        self.model = CoreModel(
            core, self.board.mtriple, self.board.l1_bytes, self.board.l2_bytes, 1000
        )
        self.analyser = Analyser(
            self.tools.disassembler, self.tools.analyser, self.board.mtriple, core.mca
        )

    def data(self, workload: Workload) -> TrialData:
        return trial_data(
            workload.key, self.cpu, algorithm_module=self._kernel(workload).algorithm_module,
            seed=self.seed, cache=str(self.folder),
        )  # fmt: skip

    def _kernel(self, workload: Workload) -> KernelRequest:
        return KernelRequest.of(workload, CPU.algorithm(workload), self.board, self.cpu)

    def schedules(self, among: str, workload: Workload, count: int) -> list[Trial]:
        """The default and random others, checked and modelled."""
        algorithm, rng = CPU.algorithm(workload), random.Random(f"{self.seed} {workload.key}")
        space = algorithm.space(workload.problem, self.cpu)
        tried: set[tuple[int, ...]] = set()
        found: list[Trial] = []
        for attempt in range(100 * count):
            knobs = {name: rng.choice(choices) for name, choices in space.items()}
            if attempt == 0:
                knobs = algorithm.default(workload.problem, self.cpu)
            values = tuple(knobs[name] for name in space)
            trial = None if values in tried else self._model(among, workload, knobs)
            tried.add(values)
            found += [trial] if trial else []
            if len(found) == count:
                break
        return found

    def _model(self, among: str, workload: Workload, knobs: Knobs) -> Trial | None:
        library = self.folder / f"{len(list(self.folder.glob('*.so')))}.so"
        answer = kernel_build.build(BuildRequest(self._kernel(workload), knobs, library))
        if not answer.ok:
            return None
        given = self.data(workload)
        buffers = given.buffers()
        trace = emulate(
            str(library), buffers, answer.shapes, model=self.model, tools=self.tools,
            folder=self.folder, timeout_s=60,
        )  # fmt: skip
        given.check(buffers, _TOLERANCE)
        cost = cost_of(trace, self.model, self.analyser)
        return Trial(among, workload, knobs, cost, library)

    def measure(self, trials: Sequence[Trial], rounds: int) -> None:
        """Fill in the measured times, all schedules in turn in each round."""
        timers = [self._timer(trial) for trial in trials]
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            for timer in timers:
                for _ in range(_REPEATS):
                    timer.repeat(_ROUND_S)
        for trial, timer in zip(trials, timers, strict=True):
            trial.measured_s = min(timer.repeats or timer.disturbed)

    def _timer(self, trial: Trial) -> KernelTimer:
        """By TVM's own clock, so that calls from Python are not in the time; weights stay warm, as
        in the model."""
        module = tvm.runtime.load_module(str(trial.library))
        if trial.workload.key not in self.buffers:
            self.buffers[trial.workload.key] = self.data(trial.workload).buffers()
        buffers = self.buffers[trial.workload.key]
        arguments = [buffer.tensor(buffer.array.shape) for buffer in buffers]

        def call(number: int) -> float:
            clock: Any = module.time_evaluator(SYMBOL, tvm.cpu(), number=number)
            return float(clock(*arguments).mean)

        return KernelTimer(call, one_thread=True)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation; equal values share the mean of their ranks."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    given = np.asarray(values)
    below = (given[:, None] > given).sum(axis=1)
    return below + ((given[:, None] == given).sum(axis=1) - 1) / 2


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """Correlations by workload, their mean, and over all schedules per multiply-accumulate (without
    those of operators that multiply nothing)."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.workload.key, []).append(trial)
    within = {}
    for key, group in groups.items():
        times = [t.measured_s for t in group]
        chosen = min(group, key=lambda t: t.cost.cycles)
        within[key] = {
            "schedules": len(group),
            "spearman": spearman([t.cost.cycles for t in group], times),
            "slowest_over_fastest": max(times) / min(times),
            "models_choice_over_fastest": chosen.measured_s / min(times),
            "default_over_fastest": group[0].measured_s / min(times),
        }
    macs = [registry.operator(t.workload.problem.op).macs(t.workload.problem) for t in trials]
    pairs = [(t, m) for t, m in zip(trials, macs, strict=True) if m]
    return {
        "schedules": len(trials),
        "spearman_within_mean": float(np.mean([w["spearman"] for w in within.values()])),
        "spearman_pooled_per_mac": spearman(
            [t.cost.cycles / m for t, m in pairs], [t.measured_s / m for t, m in pairs]
        ),
        "workloads": within,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schedules", type=int, default=18, help="per workload")
    parser.add_argument("--rounds", type=int, default=24, help="of measuring")
    parser.add_argument(
        "--model", choices=sorted(CORES), help="model of this CPU, by default the one detected"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=results.path_for("modelled-validation"))
    return parser.parse_args()


def validate(core: Core, schedules: int, rounds: int, seed: int) -> list[Trial]:
    """Schedules of all workloads, modelled and measured."""
    os.environ[VARIABLE] = "avx2"
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="tvm-flow-validation-") as name:
        run = Validation(Path(name), core, seed)
        os.sched_setaffinity(0, cores[1:] or cores)  # the first core is kept for measuring
        trials = []
        for among, problems in PROBLEMS.items():
            for workload in (Workload(problem, "direct") for problem in problems):
                print(f"{among}: {workload.key}", file=sys.stderr)
                trials += run.schedules(among, workload, schedules)
        os.sched_setaffinity(0, cores[:1])
        run.measure(trials, rounds)
    return trials


def document(trials: Sequence[Trial], core: Core) -> dict[str, Any]:
    """What is kept of a validation."""
    rows = [
        {
            "set": t.among, "workload": t.workload.key, "knobs": t.knobs, **asdict(t.cost),
            "modelled_cycles": t.cost.cycles, "measured_s": t.measured_s,
        }
        for t in trials
    ]  # fmt: skip
    sets = {among: summary([t for t in trials if t.among == among]) for among in PROBLEMS}
    return {
        "schema": results.SCHEMA, "kind": "modelled-validation", "commit": results.commit(),
        "machine": results.machine(), "model": asdict(core), "sets": sets, "schedules": rows,
    }  # fmt: skip


def main() -> None:
    given = _arguments()
    if given.schedules < 3 or given.rounds < 1:
        raise UsageError("Too few to correlate", fix="--schedules 3 or more, --rounds 1 or more")
    core = CORES[given.model] if given.model else core_of(targets.load("native"))
    made = document(validate(core, given.schedules, given.rounds, given.seed), core)
    results.write(made, given.out)
    for among, found in made["sets"].items():
        for key, row in found["workloads"].items():
            print(f"{row['spearman']:6.3f}  {row['models_choice_over_fastest']:5.2f}  {key}")
        print(f"{found['spearman_within_mean']:6.3f}  {among}: mean of {found['schedules']}")
        print(
            f"{found['spearman_pooled_per_mac']:6.3f}  {among}: over all, per multiply-accumulate"
        )
    print(f"written to {given.out}")


if __name__ == "__main__":
    results.in_words(main)
