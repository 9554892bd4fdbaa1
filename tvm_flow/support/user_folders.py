"""Where the user's own files go, by the XDG base directory specification."""

from __future__ import annotations

import os
from pathlib import Path

from tvm_flow.support.errors import EnvironmentFault


def cache_root() -> Path:
    """``~/.cache/tvm-flow``, or below ``XDG_CACHE_HOME``: made once per machine, may be deleted.

    It may not exist yet. Raises :class:`EnvironmentFault` for a user without a home folder.
    """
    return _below("XDG_CACHE_HOME", ".cache")


def data_root() -> Path:
    """``~/.local/share/tvm-flow``, or below ``XDG_DATA_HOME``: what the user made and keeps.

    It may not exist yet. Raises :class:`EnvironmentFault` for a user without a home folder.
    """
    return _below("XDG_DATA_HOME", ".local/share")


def _below(variable: str, default: str) -> Path:
    base = os.environ.get(variable)
    try:
        return (Path(base) if base else Path.home() / default) / "tvm-flow"
    except RuntimeError as error:  # neither HOME nor an entry in the password database
        raise EnvironmentFault(
            "There is no home folder to keep files in",
            why=f"neither {variable} nor HOME is set, and this user has no home",
            fix=f"export {variable}=/path/to/a/writable/folder",
        ) from error
