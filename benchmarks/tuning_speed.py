"""How fast the tuner is, against stock MetaSchedule: ``python -m benchmarks.tuning_speed --help``.

Both start from empty records, on the same network, machine and number of threads, one after the
other, each for the same time. Written are a JSON file with both curves (best latency against wall
time) and an SVG of them. Wall time begins with the process, so that imports count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import networks, results
from benchmarks.engines import environments
from benchmarks.plot import Curve, svg
from tvm_flow.support.errors import TuningError, TvmFlowError

TUNERS = {"ours": "tvm-flow", "stock": "MetaSchedule (tune_relax)"}
WITHIN = 1.03  # of the final latency: the tuner has arrived
# Stopping by itself takes our tuner a comparison of the finalists; that is within its time.
_GRACE_S = 120.0


def run(tuner: str, model: str, seconds: float, threads: int) -> dict[str, Any]:
    """Points of one tuner, its trials per minute and when it had arrived.

    Raises :class:`TuningError` where it failed; not to finish one batch in time is no failure.
    """
    limits = {"TVM_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    grace = _GRACE_S if tuner == "ours" else 0.0
    with tempfile.TemporaryDirectory(prefix="tvm-flow-tuning-speed-") as folder:
        out, log = Path(folder) / "points", Path(folder) / "log"
        records = Path(folder) / "records"
        records.mkdir()
        command = [sys.executable, "-m", "benchmarks.tuners", tuner, model, str(seconds)]
        start = time.monotonic()
        with out.open("w") as stdout, log.open("w") as stderr:
            process = subprocess.Popen(
                [*command, str(threads), str(records)],
                stdout=stdout,
                stderr=stderr,
                env=environments.environ(limits),
                start_new_session=True,  # its workers end with it
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds + grace)
            failed = bool(process.poll())
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        spent = time.monotonic() - start
        points = [json.loads(line) for line in out.read_text().splitlines()]
        if failed or not points:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            what = "failed" if failed else "was not ready to tune"
            raise TuningError(f"{TUNERS[tuner]} {what} after {spent:.0f} s", why="".join(last))
    return {"title": TUNERS[tuner], "seconds": spent, **summary(points, spent), "points": points}


def summary(points: list[dict[str, Any]], spent: float) -> dict[str, Any]:
    """``trials_per_minute`` over all the time; ``arrived_s``: from when on the latency stayed
    within 3 % of the final one, ``None`` where not every task was measured."""
    arrived = None
    final = points[-1]["latency_ms"]
    for point in reversed(points) if final is not None else ():
        if point["latency_ms"] is None or point["latency_ms"] > WITHIN * final:
            break
        arrived = point["seconds"]
    return {
        "trials": points[-1]["trials"],
        "trials_per_minute": 60 * points[-1]["trials"] / spent,
        "tasks": points[-1]["tasks"],
        "covered": points[-1]["covered"],
        "final_ms": final,
        "arrived_s": arrived,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="fasternet_t0")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each tuner")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tuners", default=",".join(TUNERS), metavar="A,B")
    parser.add_argument("--output", type=Path, default=results.path_for("tuning"))
    arguments = parser.parse_args()
    chosen = arguments.tuners.split(",")
    if not set(chosen) <= set(TUNERS) or not arguments.minutes > 0:
        parser.error(f"tuners are {', '.join(TUNERS)}, and minutes are above 0")
    try:
        networks.case(arguments.model)
        found: dict[str, Any] = {
            "schema": results.SCHEMA,
            "kind": "tuning",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": results.commit(),
            "machine": results.machine(),
            "model": arguments.model,
            "threads": arguments.threads,
            "tuners": {},
        }
        for tuner in chosen:
            seconds = 60 * arguments.minutes
            found["tuners"][tuner] = run(tuner, arguments.model, seconds, arguments.threads)
            results.write(found, arguments.output)
            print(_line(found["tuners"][tuner]), flush=True)
    except TvmFlowError as error:
        sys.exit(f"error: {error}")
    picture = arguments.output.with_suffix(".svg")
    picture.write_text(drawn(found), encoding="utf-8")
    print(f"written to {arguments.output} and {picture}")


def _line(tuner: dict[str, Any]) -> str:
    final = f"{tuner['final_ms']:.2f} ms (estimated)" if tuner["final_ms"] else "unfinished"
    arrived = f", within 3 % after {tuner['arrived_s']:.0f} s" if tuner["arrived_s"] else ""
    return (
        f"{tuner['title']}: {tuner['trials_per_minute']:.0f} trials per minute, "
        f"{tuner['covered']} of {tuner['tasks']} tasks timed, {final}{arrived}"
    )


def drawn(document: dict[str, Any]) -> str:
    """Both curves as SVG. A tuner that has not measured every task yet has no latency to draw."""
    curves = []
    for tuner in document["tuners"].values():
        known = [p for p in tuner["points"] if p["latency_ms"] is not None]
        title = f"{tuner['title']}, {tuner['trials_per_minute']:.0f} trials/min"
        if not known:
            title += f", {tuner['covered']} of {tuner['tasks']} tasks timed"
        curves.append(Curve(title, [(p["seconds"], p["latency_ms"]) for p in known]))
    title = f"{document['model']}, {document['threads']} thread(s): best latency against wall time"
    return svg(title, "seconds of tuning", "ms, sum of kernels", curves)


if __name__ == "__main__":
    main()
