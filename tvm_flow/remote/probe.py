"""A round trip to every board of a key: upload a small kernel, run it, compare, look at the noise.

It is done before boards are trusted to share a tuning run, and by ``tvm-flow boards check``.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_flow.backends.cpu import CPU, cpu_of
from tvm_flow.remote import client, health
from tvm_flow.remote.board_pool import BoardPool, Patience
from tvm_flow.remote.client import BoardInfo, GrantedBoard
from tvm_flow.remote.protocol import BOARD, OpenAnswer
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.operators import conv2d
from tvm_flow.support.errors import BoardError, TvmFlowError
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.worker.builder import Builder
from tvm_flow.tuning.worker.cores import CorePlan
from tvm_flow.tuning.worker.process import WorkerCrashed, WorkerExpired, WorkerProcess
from tvm_flow.tuning.worker.protocol import (
    KernelRequest,
    MeasureRequest,
    Outcome,
    TrialSettings,
)

#: Above this p90 / p10 of the same kernel's times a board's measurements rank badly.
NOISY = 1.10
#: A board this much faster or slower than the median of its kind is something else.
_ODD_SPEED = 0.10
_BUILD_S, _OPEN_S, _TRIAL_S, _NEXT_S = 60.0, 15.0, 60.0, 5.0
#: Of who only wants to know how boards are.
PATIENCE = Patience(absent=30.0, taken=30.0)


@dataclass(frozen=True)
class Probe:
    """What one board did. ``seconds``: median of a 1x1 convolution of 14x14x128 to 128 with default
    knobs; ``noise``: p90 / p10 of its times; ``trouble``: why there are no times, or they are not
    to be trusted."""

    address: str
    name: str
    trouble: str = ""
    seconds: float | None = None
    noise: float | None = None
    gflops: float | None = None
    emulated: bool = False
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def advice(self) -> list[str]:
        return health.advice(self.status)


def workload() -> Workload:
    """14x14 pixels, 128 channels to 128: 6.4 MFLOP, 100 KB of input, 64 KB of weights."""
    return Workload(conv2d.problem(n=1, h=14, w=14, ci=128, co=128), "direct")


def probe_boards(pool: BoardPool, board: Board, count: int) -> list[Probe]:
    """Probe ``count`` boards of a key, at the same time, so that each is another one; fewer where
    the others do not become free soon.

    Raises :class:`BoardError` where the tracker does not give one, ``CompileError`` where the
    kernel cannot be built.
    """
    cpu = cpu_of(board, 1)
    work, algorithm = workload(), CPU.algorithm(workload())
    kernel = KernelRequest.of(work, algorithm, board, cpu)
    with tempfile.TemporaryDirectory(prefix="tvm-flow-probe-") as name, ExitStack() as stack:
        folder = Path(name)
        cores = sorted(os.sched_getaffinity(0))
        builder = Builder(CorePlan((), (cores[0],)), folder, _BUILD_S)
        stack.callback(builder.close)
        built = builder.submit(kernel, algorithm.default(work.problem, cpu)).result()
        if built.status != "ok":
            raise BoardError(f"The probe for {board.name} does not build", why=built.cause)
        taken = _take(pool, count)
        workers = [
            WorkerProcess(BOARD, (), {}, folder / f"board-{n}.log") for n in range(len(taken))
        ]
        for worker in workers:
            stack.callback(worker.stop)
        budget_s = 10 * TuneOptions().trial_budget_s
        settings = TrialSettings.of(TuneOptions(trial_budget_s=budget_s), folder, seed=0)
        request = MeasureRequest(kernel, settings, built.candidate, math.inf)
        with ThreadPoolExecutor(len(taken)) as executor:
            jobs = [
                executor.submit(_probe, worker, granted, board.arch, request)
                for worker, granted in zip(workers, taken, strict=True)
            ]
            return [job.result() for job in jobs]


def unchecked(there: Sequence[BoardInfo], probes: Sequence[Probe]) -> list[Probe]:
    """The boards of ``there`` that were not probed, because others used them all the time."""
    known = {probe.address for probe in probes}
    missing = [board for board in there if board.address not in known]
    by = [f" (by {board.client})" if board.client else "" for board in missing]
    return [
        Probe(board.address, board.label, f"it could not be checked, others use it{whom}")
        for board, whom in zip(missing, by, strict=True)
    ]


def judged(probes: Sequence[Probe]) -> list[Probe]:
    """The same with ``trouble`` where a board is noisy or its speed unlike that of the others.
    Emulated boards are not judged by their times."""
    times = [probe.seconds for probe in probes if probe.seconds is not None]
    usual = statistics.median(times) if times else 0.0
    return [_judge(probe, usual, len(times)) for probe in probes]


def _judge(probe: Probe, usual: float, boards: int) -> Probe:
    if probe.trouble or probe.emulated or probe.seconds is None or probe.noise is None:
        return probe
    trouble = ""
    if probe.noise > NOISY:
        trouble = f"its times vary by {100 * (probe.noise - 1):.0f} % (p90 over p10)"
    off = probe.seconds / usual - 1
    if boards > 2 and abs(off) > _ODD_SPEED:
        trouble = f"it is {abs(off):.0%} {'slower' if off > 0 else 'faster'} than the others"
    return Probe(**{**vars(probe), "trouble": trouble})


def _take(pool: BoardPool, count: int) -> list[GrantedBoard]:
    """At most ``count`` boards: the first is waited for, others are free soon or left out."""
    taken = [pool.find()]
    with suppress(client.NoneFree, client.TrackerGone, TimeoutError):
        while len(taken) < count:
            taken.append(client.request(pool.tracker, pool.key, _NEXT_S))
    return taken


def _probe(
    worker: WorkerProcess, granted: GrantedBoard, arch: str, request: MeasureRequest
) -> Probe:
    place = granted.place
    try:
        opened = worker.request(granted.opening(_TRIAL_S), OpenAnswer, _OPEN_S)
        if not opened.ok:
            return Probe(place, "", f"no session: {opened.cause}")
        status = opened.board
        name, emulated = str(status.get("name", "")), bool(status.get("emulated", False))
        if trouble := client.wrong_arch(opened.arch, arch):
            return Probe(place, name, trouble, emulated=emulated, status=status)
        outcome = worker.request(request, Outcome, _TRIAL_S)
    except WorkerExpired as error:
        return Probe(place, "", f"it hangs: {error}")
    except (WorkerCrashed, TvmFlowError) as error:
        return Probe(place, "", str(error))
    median_s, p10_s, p90_s = outcome.median_s, outcome.p10_s, outcome.p90_s
    if median_s is None or p10_s is None or p90_s is None:
        cause = f"{outcome.status}: {outcome.cause}"
        return Probe(place, name, cause, emulated=emulated, status=status)
    gflops = 2e-9 * conv2d.CONV2D.macs(workload().problem) / median_s
    return Probe(place, name, "", median_s, p90_s / p10_s, gflops, emulated, status)
