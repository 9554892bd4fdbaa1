"""One network on all engines: convert, start, check against eager, time in rounds, sum up."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import networks
from benchmarks.engines import OURS, Engine, environments
from benchmarks.engines.convert import converted
from benchmarks.race import Peer, PeerRace
from tvm_flow import targets
from tvm_flow.measure import roofline
from tvm_flow.measure.rounds import Measurement
from tvm_flow.measure.stats import max_rel_error
from tvm_flow.measure.timing import Contestant
from tvm_flow.support.errors import TvmFlowError

Array = NDArray[np.float32]
PEAK = "fma_peak"
TOLERANCE = 1e-4
_PEAK_CONTESTANT = Contestant("benchmarks.engines.runners.peak:contestant")


@dataclass(frozen=True)
class Settings:
    """``rounds`` undisturbed rounds are wanted, in each of which an engine runs ``seconds``."""

    rounds: int = 10
    seconds: float = 0.3


@dataclass
class Run:
    """One network at one thread count. ``engines`` has times in milliseconds per run, or a
    ``reason``; see :func:`_figures` for the rest. ``busy``: with a process spinning on one of the
    cores. Where ``valid`` is false, ``reason`` says what disturbed the measurement.

    ``cache_line_ns``: one way between the cores, before each round and after the last; empty for
    one thread, and where it was not measured.

    ``fma_ms`` is 2 * MACs of the direct algorithm over the FMA rate measured in the same rounds,
    on one core, times the threads; ``memory_ms`` the bytes over one core's bandwidth at that
    working set, times the threads.
    """

    case: str
    shape: tuple[int, ...]
    threads: int
    busy: bool
    macs: int
    bytes: int
    peak_gflops: float = 0.0
    fma_ms: float = 0.0
    memory_ms: float = 0.0
    rounds: int = 0
    disturbed_rounds: int = 0
    valid: bool = True
    reason: str = ""
    cache_line_ns: list[float] = field(default_factory=list)
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def bound_ms(self) -> float:
        return max(self.fma_ms, self.memory_ms)


def measure(
    name: str, engines: Sequence[Engine], threads: int, settings: Settings, *, busy: bool = False
) -> Run:
    """Measure the network called ``name``; an engine that fails is in the result with its reason.

    Raises :class:`UsageError` for an unknown name or more threads than there are cores.
    """
    case = networks.case(name)
    cost, sample = networks.cost(case), case.input()
    run = Run(name, case.shape, threads, busy, cost.macs, cost.bytes)
    peers: dict[str, Peer] = {PEAK: Peer(environments.python(""), _PEAK_CONTESTANT)}
    for engine in engines:
        try:
            peers[engine.name] = _peer(engine, name, threads)
        except TvmFlowError as error:
            run.engines[engine.name] = {"reason": str(error)}
    bandwidth = roofline.stream_gbps(targets.load("native"), footprint=cost.bytes)
    run.memory_ms = cost.bytes / bandwidth / threads / 1e6
    with PeerRace(peers, sample, threads=threads, busy=busy) as race:
        for engine_name, reason in race.failures.items():
            run.engines[engine_name] = {"reason": reason}
        if PEAK not in race.workers:
            raise TvmFlowError("the FMA peak cannot be measured", why=race.failures[PEAK])
        measured = race.measure(settings.rounds, settings.seconds)
        flops = float(race.outputs[PEAK][0])
        memory = race.peak_rss_bytes()
        outputs = race.outputs
    _fill(run, measured, flops, _eager(case, sample), outputs, memory)
    if OURS in memory:
        folder = Path(peers[OURS].contestant.options["directory"])
        run.engines[OURS]["runner_peak_rss_mib"] = _runner_memory(folder, threads)
    return run


def _runner_memory(bundle: Path, threads: int) -> float:
    """Peak resident MiB of the runner of a bundle, by its own account."""
    command = [str(bundle / "runner"), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return float(done.stdout.splitlines()[-1].split()[0])


def _peer(engine: Engine, case: str, threads: int) -> Peer:
    """Raises :class:`TvmFlowError` where the engine is not installed or cannot convert."""
    python = environments.python(engine.environment)
    folder = converted(engine.format, case, threads)
    options = {**engine.options, engine.path_option: str(folder)}
    return Peer(python, Contestant(engine.factory, options))


@torch.inference_mode()
def _eager(case: networks.Case, sample: Array) -> Array:
    result: Array = case.module()(torch.from_numpy(sample)).numpy()
    return result


def _fill(
    run: Run,
    measured: Measurement,
    flops: float,
    expected: Array,
    outputs: dict[str, Array],
    memory: dict[str, int],
) -> None:
    run.valid, run.reason = measured.valid, measured.reason
    run.rounds, run.disturbed_rounds = len(measured.rounds[PEAK]), measured.disturbed_rounds
    run.cache_line_ns = list(measured.cache_line_ns)
    peaks = [flops / seconds / 1e9 for seconds in measured.rounds[PEAK]]
    run.peak_gflops = float(np.median(peaks))
    run.fma_ms = 2 * run.macs / run.peak_gflops / run.threads / 1e6
    for name in measured.timings:
        if name == PEAK:
            continue
        figures = _figures(run, name, measured, peaks)
        figures["max_rel_error"] = _error(outputs[name], expected)
        figures["accurate"] = figures["max_rel_error"] <= TOLERANCE
        figures["peak_rss_mib"] = memory[name] / 2**20
        run.engines[name] = figures
    run.engines = {name: run.engines[name] for name in sorted(run.engines)}


def _figures(run: Run, name: str, measured: Measurement, peaks: Sequence[float]) -> dict[str, Any]:
    """Time, GFLOP/s, per cent of the bounds, and ``ratio``: this engine's time over tvm-flow's."""
    timing = measured.timings[name]
    shares = [
        2 * run.macs / seconds / 1e9 / peak / run.threads
        for seconds, peak in zip(measured.rounds[name], peaks, strict=True)
    ]
    figures: dict[str, Any] = {
        **timing.to_json(),
        "runs": timing.runs,
        "gflops": 2 * run.macs / timing.median_ms / 1e6,
        "percent_of_fma": 100 * float(np.median(shares)),
        "percent_of_roofline": 100 * run.bound_ms / timing.median_ms,
    }
    if OURS in measured.rounds and name != OURS:
        ratio = measured.ratio(name, OURS)
        figures["ratio"] = {"median": ratio.median, "p10": ratio.p10, "p90": ratio.p90}
    return figures


def _error(actual: Array, expected: Array) -> float:
    if actual.size != expected.size:
        return math.inf
    return max_rel_error(actual.reshape(expected.shape), expected)


def timed(run: Run, names: Iterable[str]) -> dict[str, float]:
    """Median in milliseconds of those of ``names`` that have one."""
    return {n: run.engines[n]["median_ms"] for n in names if "median_ms" in run.engines.get(n, {})}
