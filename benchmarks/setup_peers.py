"""Install the engines compared against: ``python -m benchmarks.setup_peers [ENVIRONMENT ...]``.

One virtual environment each under ``build/peers/``, about 7 GB in all. One that cannot be installed
is reported, and the others are installed all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.engines import environments
from tvm_flow.support.errors import EnvironmentFault


def ensure(names: Sequence[str]) -> dict[str, str]:
    """Install what is missing; the reason for each environment that could not be."""
    failures = {}
    for name in names:
        try:
            environments.install(name)
        except EnvironmentFault as error:
            failures[name] = str(error)
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="ENVIRONMENT", help=str(environments.NAMES))
    names = parser.parse_args().names or list(environments.NAMES)
    if unknown := set(names) - set(environments.NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    for name in names:
        print(f"{name} ...", flush=True)
        for reason in ensure([name]).values():
            print(f"  {reason}", file=sys.stderr)
    failed = [name for name in names if not _works(name)]
    print(f"{len(names) - len(failed)} of {len(names)} environments are ready")
    sys.exit(bool(failed))


def _works(name: str) -> bool:
    try:
        environments.python(name)
    except EnvironmentFault:
        return False
    return True


if __name__ == "__main__":
    main()
