"""``python -m tests.suites NAME``, ``--help`` says with what else.

Runs a suite and says which cases are not what its table says. With ``--update`` the table becomes
what was found; of entries or keys that were not run, it stays.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # libraries that start threads when imported; this one forks

from tests.suites import table, workers
from tests.suites.cases import Entry, Outcome, Suite, entry_of
from tests.torch_operators import look_up_operators_once
from tvm_flow.support.collector import collect_seldom

#: Name of a table -> module and class of the suite.
SUITES = {
    "onnx": "tests.suites.onnx_cases:Backend",
    "torch": "tests.suites.torch_cases:Both",
    "torch_modules": "tests.suites.torch_cases:Modules",
    "torch_operators": "tests.suites.torch_cases:Operators",
}


def suite_of(name: str, trace: bool) -> Suite:
    module, _, attribute = SUITES[name].partition(":")
    made: Callable[[bool], Suite] = getattr(importlib.import_module(module), attribute)
    return made(trace)


class _Part:
    """A suite of which only some entries are run."""

    def __init__(self, suite: Suite, pattern: str) -> None:
        self.name, self._suite, self._pattern = suite.name, suite, re.compile(pattern)

    def entries(self) -> list[Entry]:
        return [e for e in self._suite.entries() if self._pattern.fullmatch(e.name)]


def _warmed_up() -> None:
    """What is imported late and kept is shared by all forks then."""
    collect_seldom()
    import torch  # noqa: PLC0415

    import tvm_flow  # noqa: PLC0415

    torch.set_num_threads(1)
    look_up_operators_once()
    tvm_flow.trace(tvm_flow.Model(torch.nn.Conv2d(3, 4, 3).eval(), input_shape=(1, 3, 8, 8)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.suites")
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--update", action="store_true", help="write the table")
    parser.add_argument("--entries", metavar="REGEX", help="only entries whose whole name matches")
    parser.add_argument("--keys", metavar="FILE", help="only the cases of which it has a line")
    parser.add_argument("--json", metavar="FILE", help="write key, class, why and seconds of each")
    parser.add_argument("--trace", action="store_true", help="import and verify, compile nothing")
    options = parser.parse_args()
    suite = suite_of(options.suite, options.trace)
    _warmed_up()
    if options.entries:
        suite = _Part(suite, options.entries)
    wanted = Path(options.keys).read_text().split() if options.keys else None
    rows: list[dict[str, Any]] = []

    def tell(key: str, outcome: Outcome, seconds: float) -> None:
        rows.append({"key": key, **vars(outcome), "seconds": round(seconds, 2)})
        if options.json:
            Path(options.json).write_text("\n".join(map(json.dumps, rows)) + "\n")

    found = workers.run(suite, set(wanted) if wanted is not None else None, tell)
    known = table.read(suite.name) if table.path_of(suite.name).exists() else {}
    run = {entry.name for entry in suite.entries()}
    expected = {
        key: outcome
        for key, outcome in known.items()
        if (key in wanted if wanted is not None else entry_of(key) in run)
    }
    different = table.differences(expected, found)
    print(*different, sep="\n")
    print(f"{suite.name}: {table.counts(found)}, {len(different)} not as in the table")
    if options.update and not options.trace:
        kept = {key: outcome for key, outcome in known.items() if key not in expected}
        everything = not options.entries and wanted is None
        table.write(suite.name, found if everything else {**kept, **found})
        return 0
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
