"""What the two comparing commands share: flags, set-up, the loop, saving as it goes on."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import networks, results, table
from benchmarks.engines import ENGINES, Engine, chosen
from benchmarks.engines.convert import converted
from benchmarks.measure import Run, Settings, measure, timed
from benchmarks.setup_peers import ensure
from tvm_flow.support.errors import TvmFlowError

Plan = Sequence[tuple[str, int, bool]]


def parser(about: str, cases: Sequence[str], flag: str) -> argparse.ArgumentParser:
    """The common flags; ``flag`` names the one that chooses among ``cases``."""
    made = argparse.ArgumentParser(description=about)
    made.add_argument(flag, dest="cases", type=_names, default=list(cases), metavar="A,B")
    made.add_argument("--engines", type=_names, default=list(ENGINES), metavar="A,B",
                      help=", ".join(ENGINES))  # fmt: skip
    made.add_argument("--threads", type=_counts, default=[1, 2], metavar="1,2")
    made.add_argument("--rounds", type=int, default=Settings.rounds)
    made.add_argument("--seconds", type=float, default=Settings.seconds,
                      help="per engine and round")  # fmt: skip
    made.add_argument("--prepare", action="store_true",
                      help="install and convert, measure nothing")  # fmt: skip
    made.add_argument(
        "--output",
        type=Path,
        help="JSON file (default: in benchmarks/results)",
    )
    return made


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _counts(text: str) -> list[int]:
    return [int(count) for count in _names(text)]


def main(kind: str, make: Callable[[], tuple[argparse.Namespace, Plan]]) -> None:
    """Run the plan of the command line; errors are one line, as everywhere."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    try:
        arguments, plan = make()
        for name, _, _ in plan:
            networks.case(name)
        engines = chosen(arguments.engines)
        settings = Settings(arguments.rounds, arguments.seconds)
        install(engines)
        if arguments.prepare:
            prepare(plan, engines)
            return
        path = arguments.output or results.path_for(kind)
        found = campaign(kind, plan, engines, settings, path)
    except TvmFlowError as error:
        sys.exit(f"error: {error}")
    print(f"\n{table.markdown(found)}\nwritten to {path}")


def install(engines: Sequence[Engine]) -> None:
    """Install what ``engines`` need; what cannot be is told, and told again in the results."""
    formats = {engine.format.environment for engine in engines}
    needed = sorted((formats | {engine.environment for engine in engines}) - {""})
    for reason in ensure(needed).values():
        print(f"not available: {reason}", file=sys.stderr)


def prepare(plan: Plan, engines: Sequence[Engine]) -> None:
    """Convert everything whose result is kept."""
    formats = {engine.format for engine in engines if engine.format.keep}
    for name in dict.fromkeys(name for name, _, _ in plan):
        for form in sorted(formats, key=lambda form: form.name):
            try:
                converted(form, name, 1)
            except TvmFlowError as error:
                print(error, file=sys.stderr)
        print(f"{name} is ready", flush=True)


def campaign(
    kind: str, plan: Plan, engines: Sequence[Engine], settings: Settings, path: Path
) -> dict[str, Any]:
    """Measure (case, threads, busy) by (case, threads, busy); ``path`` is always up to date."""
    runs: list[Run] = []
    found = results.document(kind, runs, engines, settings)
    for number, (name, threads, busy) in enumerate(plan, 1):
        runs.append(measure(name, engines, threads, settings, busy=busy))
        print(f"[{number}/{len(plan)}] {_line(runs[-1])}", flush=True)
        found = results.document(kind, runs, engines, settings)
        results.write(found, path)
    return found


def _line(run: Run) -> str:
    times = sorted(timed(run, run.engines).items(), key=lambda item: item[1])
    failed = [f"{name} failed" for name, f in run.engines.items() if "reason" in f]
    words = [f"{name} {ms:.2f}" for name, ms in times] + failed
    suffix = " (busy core)" if run.busy else ""
    note = "" if run.valid else f" [not valid: {run.reason}]"
    return f"{run.case}, {run.threads} thread(s){suffix}, ms: {', '.join(words)}{note}"
