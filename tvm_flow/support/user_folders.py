"""Where the user's own files go, by the XDG base directory specification."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tvm_flow.support.errors import EnvironmentFault

#: Set for this process and its children once there is a temporary cache.
_TEMPORARY = "TVM_FLOW_TEMPORARY_CACHE"


def cache_root() -> Path:
    """``~/.cache/tvm-flow``, or below ``XDG_CACHE_HOME``: made once per machine, may be deleted.

    It may not exist yet. Where there is no home, or it cannot be written, it is a temporary folder
    of this process, which says so on standard error. Raises :class:`EnvironmentFault` where not
    even that can be made.
    """
    usual = usual_cache()
    if usual is not None and (os.environ.get("XDG_CACHE_HOME") or _writable(usual)):
        return usual
    known = os.environ.get(_TEMPORARY, "")
    return Path(known) if os.path.isdir(known) else _temporary(usual)


def usual_cache() -> Path | None:
    """The cache that is kept; ``None`` for a user without a home folder."""
    try:
        return _below("XDG_CACHE_HOME", ".cache")
    except EnvironmentFault:
        return None


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


def _writable(folder: Path) -> bool:
    """Whether ``folder`` is there or can be made, and files in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _temporary(usual: Path | None) -> Path:
    """A new one that only this user can write to: code in it is run."""
    try:
        made = tempfile.mkdtemp(prefix="tvm-flow-cache-")
    except OSError as error:
        raise EnvironmentFault(
            "There is no folder to keep files in",
            why=error.strerror or str(error),
            fix="export XDG_CACHE_HOME=/path/to/a/writable/folder",
        ) from error
    os.environ[_TEMPORARY] = made
    atexit.register(_delete, made, os.getpid())
    why = f"{usual} cannot be written" if usual else "there is no home folder"
    sys.stderr.write(
        f"note: the cache is temporary: {why}. Set XDG_CACHE_HOME to a folder to keep it\n"
    )
    return Path(made)


def _delete(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork of it
        shutil.rmtree(folder, ignore_errors=True)
