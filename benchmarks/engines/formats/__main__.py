"""Write one network in one format; the last line of standard error says what went wrong."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks import networks


def main() -> None:
    name, case, folder, threads = sys.argv[1:]
    module = importlib.import_module(f"benchmarks.engines.formats.{name}")
    module.write(networks.case(case), Path(folder), int(threads))


if __name__ == "__main__":
    main()
