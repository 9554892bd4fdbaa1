"""Results as a file: what was measured, where, with which versions. JSON, one a day and command."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.engines import Engine, environments
from benchmarks.measure import Run, Settings
from tvm_flow import targets
from tvm_flow.support.errors import TvmFlowError, UsageError

FOLDER = Path(__file__).parent / "results"
SCHEMA = 1


def document(
    kind: str, runs: Sequence[Run], engines: Sequence[Engine], settings: Settings
) -> dict[str, Any]:
    """Everything a reader needs to judge the numbers; ``kind`` is ``zoo`` or ``operators``."""
    return {
        "schema": SCHEMA,
        "kind": kind,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "settings": asdict(settings),
        "engines": {engine.name: _about(engine) for engine in engines},
        "runs": [asdict(run) for run in runs],
    }


def machine() -> dict[str, Any]:
    """This machine, without anything that names it."""
    board = targets.load("native")
    return {
        "cpu": board.soc,
        "class": board.log_name,
        "cores": len(os.sched_getaffinity(0)),
        "l1d_kib": board.l1_bytes // 1024,
        "l2_kib": board.l2_bytes // 1024,
        "l3_kib": board.l3_kib,
        "ram_gib": board.ram_gib,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "tvm": metadata.version("apache-tvm"),
    }


def commit() -> str:
    """The checkout's commit, with ``+`` where files differ from it; "" outside a checkout."""
    git = ["git", "-C", str(environments.ROOT)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return ""
    status = [*git, "status", "--porcelain", "--untracked-files=no"]
    changed = subprocess.run(status, capture_output=True, text=True, check=False)
    return head.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")


def _about(engine: Engine) -> dict[str, str]:
    about = {"title": engine.title, "distribution": engine.distribution}
    try:
        return {**about, "version": environments.version(engine.environment, engine.distribution)}
    except TvmFlowError as error:
        return {**about, "reason": str(error)}


def path_for(kind: str, folder: Path = FOLDER, *, machine: str = "") -> Path:
    """``results/YYYY-MM-DD-KIND-MACHINE.json``, the machine being this one's class of CPU unless
    named; ``boards`` is for what a model says of several. A note may follow by hand."""
    day = datetime.now(UTC).date().isoformat()
    where = machine or targets.load("native").log_name.removeprefix("native-")
    return folder / f"{day}-{kind}-{where}.json"


def write(document: dict[str, Any], path: Path) -> None:
    """Replace ``path`` in one step, so that a long measurement can be saved as it goes on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)


def write_modelled(kind: str, path: Path, **found: Any) -> None:
    """Write what a model found, labelled so, and say where."""
    made = {"schema": SCHEMA, "kind": kind, "label": "modelled", "commit": commit(), **found}
    write(made, path)
    print(f"written to {path}")


def in_words(main: Callable[[], None]) -> None:
    """Run a command's ``main``; an error that is ours is one line, as everywhere."""
    try:
        main()
    except TvmFlowError as error:
        sys.exit(f"error: {error}")


def read(path: Path) -> dict[str, Any]:
    """Raises :class:`UsageError` where the file is missing or not a result of this version."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read", why=str(error), fix="python -m benchmarks.zoo writes one"
        ) from error
    if found.get("schema") != SCHEMA:
        raise UsageError(f"{path} is not a result of this version", fix="measure again")
    return found
