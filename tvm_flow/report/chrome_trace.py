"""A profile in the trace event format that chrome://tracing and ui.perfetto.dev show."""

from __future__ import annotations

import json
import os
from typing import Any

from tvm_flow.report.profile import KernelTime, ProfileReport

_PROCESS, _KERNELS, _MODULES = 1, 1, 2


def chrome_trace(report: ProfileReport) -> bytes:
    """One run, made of the medians: a slice per kernel, one after the other, and above them the
    PyTorch modules they belong to. Times are in microseconds, as the format wants them."""
    events: list[dict[str, Any]] = [
        _named("process_name", _KERNELS, f"{report.model} on {report.target}"),
        _named("thread_name", _KERNELS, f"kernels, {report.threads} thread(s)"),
        _named("thread_name", _MODULES, "modules"),
    ]
    starts, start = [], 0.0
    for kernel in report.kernels:
        starts.append(start)
        events.append(_slice(kernel.symbol, "kernel", _KERNELS, start, kernel.microseconds)
                      | {"args": _arguments(kernel)})  # fmt: skip
        start += kernel.microseconds
    events += _modules(report, starts)
    document = {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {
            "what": "medians of each kernel, laid end to end",
            "model": report.model,
            "target": report.target,
            "threads": report.threads,
            "runs": report.total.runs,
            "valid": report.valid,
            "reason": report.reason,
        },
    }
    return json.dumps(document, indent=1, allow_nan=False).encode()


def _arguments(kernel: KernelTime) -> dict[str, Any]:
    return {
        "op": kernel.problem,
        "algorithm": kernel.algorithm,
        "modules": list(kernel.modules),
        "source": kernel.source,
        "MACs": kernel.macs,
        "GFLOP/s": kernel.gflops,
        "share of peak": kernel.peak_share,
        "bytes": kernel.bytes,
        "GB/s": kernel.gbps,
    }


def _modules(report: ProfileReport, starts: list[float]) -> list[dict[str, Any]]:
    """Slices that hold each other: neighbours that share a module are one slice of it."""
    open_slices: list[dict[str, Any]] = []
    done: list[dict[str, Any]] = []
    for kernel, start in zip(report.kernels, starts, strict=True):
        path = _shared(kernel.modules)
        kept = 0
        while kept < min(len(path), len(open_slices)) and (
            open_slices[kept]["args"]["module"] == ".".join(path[: kept + 1])
        ):
            kept += 1
        done += reversed(open_slices[kept:])
        del open_slices[kept:]
        for depth in range(kept, len(path)):
            made = _slice(path[depth], "module", _MODULES, start, 0.0)
            open_slices.append(made | {"args": {"module": ".".join(path[: depth + 1])}})
        for held in open_slices:
            held["dur"] = start + kernel.microseconds - held["ts"]
    # of slices that begin and end together the outer one has to come first
    return sorted(
        [*done, *open_slices], key=lambda s: (s["ts"], -s["dur"], len(s["args"]["module"]))
    )


def _shared(modules: tuple[str, ...]) -> list[str]:
    """Parts of the longest path that all modules share; none for a kernel without any."""
    paths = [module.replace(".", "/") for module in modules]
    return os.path.commonpath(paths).split("/") if paths else []


def _slice(name: str, kind: str, row: int, start: float, length: float) -> dict[str, Any]:
    return {
        "name": name, "cat": kind, "ph": "X", "pid": _PROCESS, "tid": row, "ts": start,
        "dur": length,
    }  # fmt: skip


def _named(what: str, row: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PROCESS, "tid": row, "args": {"name": name}}
