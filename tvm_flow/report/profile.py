"""Where a bundle's time and memory go, by kernel, linked to operators and PyTorch modules."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.measure.load_probe import LoadProbe
from tvm_flow.measure.memory import MemoryReport, memory_report
from tvm_flow.measure.perf_counters import counted
from tvm_flow.runtime.bundle import Bundle, load
from tvm_flow.runtime.timing import Timing, summarise
from tvm_flow.support import manifest
from tvm_flow.support.errors import MeasurementError, UsageError

_WARM_UP_RUNS = 5


@dataclass(frozen=True)
class KernelTime:
    """One kernel call of the network, in execution order.

    ``microseconds``: median over the runs, ``p10_us``: 10th percentile. ``gflops``:
    GFLOP/s, FLOPs being 2 × MACs;
    ``peak_share``: of the fp32 peak of the threads used, which was measured when compiling if that
    was on the machine itself; ``gbps``: GB/s if every argument crossed memory once. ``None`` where
    the operation count or the peak is unknown.
    ``macs``: 0 where unknown; ``bytes``: of all arguments.
    ``problem``: key of what it computes; ``algorithm``: by what, empty in bundles of versions that
    did not tell them apart. ``source``: ``tuned``, ``default``, or ``generic`` for a kernel TVM
    made by itself.
    """

    symbol: str
    problem: str
    algorithm: str
    modules: tuple[str, ...]
    source: str
    microseconds: float
    share: float
    gflops: float | None
    peak_share: float | None
    gbps: float
    macs: int
    bytes: int
    p10_us: float


@dataclass(frozen=True)
class ProfileReport:
    """``total``: whole runs, not timed step by step. ``kernels_us``: sum over the kernels;
    ``overhead_us``: the rest of a run (calls, the check of inputs), not below 0. ``valid`` and
    ``reason`` as in a comparison. ``counters``: events per run of the calling thread, by name of
    :data:`tvm_flow.measure.perf_counters.EVENTS`, as far as the system lets them be read."""

    model: str
    target: str
    threads: int
    total: Timing
    kernels: tuple[KernelTime, ...]
    kernels_us: float
    overhead_us: float
    valid: bool
    reason: str
    memory: MemoryReport | None
    counters: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "total": {**self.total.to_json(), "runs": self.total.runs}}

    def by_module(self, depth: int = 2) -> dict[str, float]:
        """Microseconds per PyTorch module, cut to ``depth`` path components, largest first.

        A kernel that computes several modules counts for the longest path they share.
        """
        sums: dict[str, float] = defaultdict(float)
        for kernel in self.kernels:
            paths = [module.replace(".", "/") for module in kernel.modules]
            shared = os.path.commonpath(paths).split("/") if paths else []
            sums[".".join(shared[:depth]) or "(network)"] += kernel.microseconds
        return dict(sorted(sums.items(), key=lambda item: -item[1]))


def profile(
    bundle: Path | str, *, threads: int | None = None, runs: int = 50, memory: bool = False
) -> ProfileReport:
    """Profile a bundle on its own sample.

    Parameters
    ----------
    threads: worker threads; by default as many as it was compiled for.
    runs: runs every time is the median of.
    memory: also report the memory plan and the peak memory of a fresh process.

    Raises :class:`UsageError` for ``runs`` < 1, :class:`MeasurementError` where the kernels that
    ran are not those of the manifest, and what loading raises.
    """
    if runs < 1:
        raise UsageError(f"cannot profile {runs} runs", fix="ask for 1 or more")
    info = manifest.verify(bundle)
    loaded = load(bundle, threads=threads)
    _require_same_calls(loaded, info.data)
    loaded.set_inputs()
    probe = LoadProbe(loaded.cores, os.getpid())
    before = probe.snapshot()
    plain, table = _measure(loaded, runs)
    complaints = probe.complaints(before, probe.snapshot())
    kernels = _describe(info.data, np.percentile(table, (50, 10), axis=0).T, loaded.threads)
    counters = _counters(loaded, runs)
    overhead = float(np.median(np.array(plain) - table.sum(axis=1)))
    return ProfileReport(
        model=info.model,
        target=loaded.target,
        threads=loaded.threads,
        total=summarise(plain),
        kernels=tuple(kernels),
        kernels_us=sum(kernel.microseconds for kernel in kernels),
        overhead_us=max(0.0, 1e6 * overhead),
        valid=not complaints,
        reason="; ".join(complaints),
        memory=memory_report(loaded) if memory else None,
        counters=counters,
    )


def _measure(bundle: Bundle, runs: int) -> tuple[list[float], NDArray[np.float64]]:
    """Seconds of plain runs, and of every kernel call (columns) in as many runs that are timed step
    by step. The two kinds take turns, so that their difference is not a drift of the machine."""
    plain, table = [], []
    for _ in range(_WARM_UP_RUNS + runs):
        plain.extend(bundle.seconds(1))
        table.append(bundle.profile())
    return plain[_WARM_UP_RUNS:], np.array(table[_WARM_UP_RUNS:])


def _counters(bundle: Bundle, runs: int) -> dict[str, float]:
    """Events per run; the runs are not those that are timed."""
    with counted() as counts:
        bundle.seconds(runs)
    return {name: value / runs for name, value in counts.values.items()}


def _require_same_calls(bundle: Bundle, data: dict[str, Any]) -> None:
    wanted = [str(call["symbol"]) for call in data["calls"]]
    if bundle.steps != wanted:
        raise MeasurementError(
            "the kernels that run are not those in the manifest",
            why=f"{len(bundle.steps)} calls, the manifest has {len(wanted)}",
            fix="compile the bundle again",
        )


def _describe(data: dict[str, Any], seconds: NDArray[np.float64], threads: int) -> list[KernelTime]:
    """``seconds``: median and 10th percentile of every call."""
    peaks = data["target"]["peak_gflops"]
    peak = peaks[threads - 1] if threads <= len(peaks) else 0.0
    total = float(seconds[:, 0].sum()) or 1.0
    rows = []
    entries = zip(data["calls"], kernel_entries(data), seconds.tolist(), strict=True)
    for call, info, (took, p10) in entries:
        macs, moved = (info["macs"], info["bytes"]) if info else (0, call["argument_bytes"])
        gflops = 2e-9 * macs / took if macs and took else None
        rows.append(
            KernelTime(
                symbol=call["symbol"],
                problem=problem_of(info) if info else call["symbol"],
                algorithm=info.get("algorithm", "") if info else "",
                modules=tuple(info["modules"]) if info else (),
                source=info["source"] if info else "generic",
                microseconds=1e6 * took,
                share=took / total,
                gflops=gflops,
                peak_share=gflops / peak if gflops and peak else None,
                gbps=1e-9 * moved / took if took else 0.0,
                macs=macs,
                bytes=moved,
                p10_us=1e6 * p10,
            )
        )
    return rows


def problem_of(info: dict[str, Any]) -> str:
    """Of a kernel's entry; one of an older bundle has problem and algorithm in one text."""
    return str(info.get("problem") or info["workload"])


def kernel_entries(data: dict[str, Any]) -> list[dict[str, Any] | None]:
    """The kernel entry of every call. A symbol called several times has one entry per call, in
    order, or one for all."""
    entries: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for kernel in data["kernels"]:
        entries[kernel["symbol"]].append(kernel)
    used: dict[str, int] = defaultdict(int)
    result: list[dict[str, Any] | None] = []
    for call in data["calls"]:
        known = entries.get(call["symbol"])
        result.append(known[min(used[call["symbol"]], len(known) - 1)] if known else None)
        used[call["symbol"]] += 1
    return result
