"""Processes of our own that run Python."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: Keeps Python from looking for libraries in the folder it is started in first: what lies there,
#: such as a ``copy.py`` of the user's, is not to be taken for one of theirs.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
_OURS = str(Path(__file__).resolve().parents[2])


def child_environment(**more: str) -> dict[str, str]:
    """This process's environment, in which Python finds what this process does, in the same order;
    but the folders that are there because Python was started in them go last, after the libraries.

    What came into ``PYTHONPATH`` after this process had started goes first. ``more`` is added, or
    replaces what is there.
    """
    named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    known = [entry or os.getcwd() for entry in sys.path]
    started = {os.getcwd(), _script_folder()} - {*named, _OURS}
    first = [entry for entry in known if entry not in started]
    last = [entry for entry in known if entry in started]
    path = os.pathsep.join([*(e for e in named if e not in known), *first, *last])
    return {**os.environ, **SAFE_PATH, "PYTHONPATH": path, **more}


def _script_folder() -> str:
    return os.path.dirname(os.path.realpath(sys.argv[0])) if sys.argv and sys.argv[0] else ""
