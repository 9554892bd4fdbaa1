"""A suite in a process of its own, which has no threads: it forks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from tests.suites.cases import Outcome

ROOT = Path(__file__).parents[2]


def run(
    name: str, folder: Path, keys: Collection[str] = (), *, timeout_s: int = 3600
) -> dict[str, Outcome]:
    """What becomes of the cases ``keys`` of a suite, by default of all; files go to ``folder``."""
    found, only = folder / "found.json", folder / "keys"
    only.write_text("\n".join(keys))
    subprocess.run(
        [
            sys.executable, "-m", "tests.suites", name, "--json", found,
            *(["--keys", only] if keys else []),
        ],
        cwd=ROOT, timeout=timeout_s, check=False, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    rows = map(json.loads, found.read_text().splitlines())
    return {row["key"]: Outcome(row["kind"], row["why"]) for row in rows}
