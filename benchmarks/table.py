"""A results file as Markdown: ``python -m benchmarks.table FILE.json [--into README.md]``.

``--into`` replaces what stands between the lines ``<!-- benchmarks:KIND -->`` and
``<!-- /benchmarks:KIND -->``, where KIND is that of the file (``zoo`` or ``operators``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.engines import ENGINES, OURS, PEERS, UNTUNED
from tvm_flow.support.errors import TvmFlowError, UsageError

Run = dict[str, Any]


def markdown(document: dict[str, Any]) -> str:
    """All tables of a document, with what they were measured on and what went wrong."""
    runs: list[Run] = document["runs"]
    settings = sorted({(run["threads"], run["busy"]) for run in runs})
    parts = [_heading(document)]
    for threads, busy in settings:
        some = [run for run in runs if (run["threads"], run["busy"]) == (threads, busy)]
        title = f"**{threads} thread{'s' if threads > 1 else ''}**"
        if busy:
            title += ", another process keeping one of the cores busy"
        parts.append(
            f"{title}, median ms per run, batch 1, fp32\n\n{_times(some, document['kind'])}"
        )
    parts += [text for text in (_scaling(runs), _memory(runs), _remarks(document)) if text]
    return "\n\n".join(parts) + "\n"


def _heading(document: dict[str, Any]) -> str:
    machine, settings = document["machine"], document["settings"]
    return (
        f"Measured on {document['date'][:10]} at commit {document['commit']}, {machine['cpu']} "
        f"({machine['class']}, {machine['cores']} cores): {settings['rounds']} interleaved rounds "
        f"of {settings['seconds']} s per engine, idle engines stopped. FMA bound: 2 × MACs of the "
        "direct algorithm over the FMA rate of the same cores, measured in the same rounds."
    )


def _times(runs: Sequence[Run], kind: str) -> str:
    """The zoo has engines down and networks across, the operators the other way round: one of
    the two is always too many for a line."""
    names = [
        name for name in (*PEERS, UNTUNED, OURS) if any(name in run["engines"] for run in runs)
    ]
    rows = [[_title(name), *(_time(run, name) for run in runs)] for name in names]
    bound = "FMA bound" if kind == "zoo" else "roofline"
    share = "percent_of_fma" if kind == "zoo" else "percent_of_roofline"
    rows.append([bound, *(f"{_bound(run, kind):.2f}" for run in runs)])
    rows.append([f"% of {bound}", *(_ours(run, share) for run in runs)])
    rows.append(_speedups("best engine", runs, PEERS))
    rows.append(_speedups("PyTorch eager", runs, PEERS[:1]))
    if any(UNTUNED in run["engines"] for run in runs):
        rows.append(_speedups("zero trials", runs, (UNTUNED,)))
    if any(run["threads"] > 1 and "cache_line_ns" in run for run in runs):
        title = "cache line from core to core, ns (range over the rounds)"
        rows.append([title, *map(_cache_line, runs)])
    table = [["", *(run["case"] for run in runs)], *rows]
    return _grid(table if kind == "zoo" else list(zip(*table, strict=True)))


def _speedups(what: str, runs: Sequence[Run], peers: Sequence[str]) -> list[str]:
    """A row: the time of the best of ``peers`` over tvm-flow's, geometric mean in the title."""
    ratios = [_ratio(run, peers) for run in runs]
    logs = np.log([ratio for ratio in ratios if ratio])
    mean = f"mean {float(np.exp(logs.mean())):.2f}×" if logs.size else "not measured"
    return [f"{what} / tvm-flow ({mean})", *(f"{r:.2f}×" if r else "" for r in ratios)]


def _title(name: str) -> str:
    return f"**{ENGINES[name].title}**" if name == OURS else ENGINES[name].title


def _bound(run: Run, kind: str) -> float:
    return float(run["fma_ms"] if kind == "zoo" else max(run["fma_ms"], run["memory_ms"]))


def _ours(run: Run, figure: str) -> str:
    figures = run["engines"].get(OURS, {})
    return f"{figures[figure]:.0f} %" if figure in figures else "failed"


def _time(run: Run, name: str) -> str:
    figures = run["engines"].get(name)
    if figures is None:
        return ""
    if "reason" in figures:
        return "failed"
    text = f"{figures['median_ms']:.2f}" + ("" if figures["accurate"] else "†")
    return f"**{text}**" if name == _best(run, (*PEERS, OURS)) else text


def _cache_line(run: Run) -> str:
    """Runs of one table may differ: the cores of a virtual machine are moved now and then. Older
    results have none."""
    values = run.get("cache_line_ns")
    if not values:
        return "" if values is None else "not measured"
    return f"{median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def _best(run: Run, names: Iterable[str]) -> str | None:
    times = {
        n: run["engines"][n]["median_ms"] for n in names if "median_ms" in run["engines"].get(n, {})
    }
    return min(times, key=times.__getitem__, default=None)


def _ratio(run: Run, peers: Sequence[str]) -> float | None:
    """The time of the best of ``peers`` over tvm-flow's, the median over rounds."""
    best = _best(run, peers)
    ratio = run["engines"][best].get("ratio") if best else None
    return float(ratio["median"]) if ratio else None


def _scaling(runs: Sequence[Run]) -> str:
    """tvm-flow's time on one thread over that on more."""
    times = {
        (run["case"], run["threads"]): float(run["engines"][OURS]["median_ms"])
        for run in runs
        if not run["busy"] and "median_ms" in run["engines"].get(OURS, {})
    }
    gains = [
        f"{case} {times[case, 1] / ms:.2f}× on {threads}"
        for (case, threads), ms in times.items()
        if threads > 1 and (case, 1) in times
    ]
    return f"tvm-flow on several threads against one: {', '.join(gains)}." if gains else ""


def _memory(runs: Sequence[Run]) -> str:
    """Largest resident memory of a process that loads and runs FasterNet-T0 (or the first network)
    on one thread."""
    single = [run for run in runs if run["threads"] == 1]
    if not single:
        return ""
    run = next((r for r in single if r["case"] == "fasternet_t0"), single[0])
    have = [n for n in (*PEERS, OURS) if "peak_rss_mib" in run["engines"].get(n, {})]
    rows = [[_title(n), f"{run['engines'][n]['peak_rss_mib']:.0f}"] for n in have]
    runner = run["engines"].get(OURS, {}).get("runner_peak_rss_mib")
    if runner is not None:
        rows.append(["**tvm-flow**, the bundle's program", f"{runner:.0f}"])
    return _grid([[f"{run['case']}, 1 thread", "peak resident memory of the process, MiB"], *rows])


def _remarks(document: dict[str, Any]) -> str:
    remarks: dict[str, None] = {}  # in order, each once
    for run in document["runs"]:
        if not run["valid"]:
            where = f"{run['case']}, {run['threads']} thread(s)"
            remarks[f"{where}: **not valid**, {run['reason']}"] = None
        for name, figures in run["engines"].items():
            title = f"{ENGINES[name].title} on {run['case']}"
            if "reason" in figures:
                remarks[f"{title} failed: {figures['reason']}"] = None
            elif not figures["accurate"]:
                error = f"{figures['max_rel_error']:.1e}"
                remarks[f"† {title} is off by {error} of the output's scale"] = None
    return "\n".join(f"- {remark}" for remark in remarks)


def _grid(rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["--:"] * (len(rows[0]) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def insert(text: str, kind: str, content: str) -> str:
    """``content`` between the markers of ``kind``. Raises :class:`UsageError` without them."""
    start, end = f"<!-- benchmarks:{kind} -->", f"<!-- /benchmarks:{kind} -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UsageError(f"there is no {start} … {end} to fill", fix="add both lines to the file")
    return f"{before}{start}\n{content}{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--into", type=Path, metavar="README.md")
    arguments = parser.parse_args()
    try:
        document = results.read(arguments.file)
        content = markdown(document)
        if arguments.into is None:
            print(content)
            return
        text = arguments.into.read_text(encoding="utf-8")
        arguments.into.write_text(insert(text, document["kind"], content), encoding="utf-8")
    except TvmFlowError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
