"""Files that are made once per machine: ``~/.cache/tvm-flow``, or below ``XDG_CACHE_HOME``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tvm_flow.support.errors import EnvironmentFault
from tvm_flow.support.publish import beside
from tvm_flow.support.user_folders import cache_root, usual_cache


def cached_folder(name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name`` of the cache; ``make`` fills an empty one where there is none yet.

    It appears whole or not at all, also where two processes make it at once. What ``make`` raises
    passes through; raises :class:`EnvironmentFault` where the cache of ``XDG_CACHE_HOME`` cannot be
    written, or there is no space.
    """
    kept = usual_cache()
    if kept is not None and os.path.isdir(kept / name):  # also where nothing can be added
        return kept / name
    target = cache_root() / name
    if target.is_dir():
        return target
    try:
        with beside(target) as fresh:
            make(fresh)
            _publish(fresh, target)
    except OSError as error:
        raise EnvironmentFault(
            f"Cannot write to the cache {target.parent}",
            why=error.strerror or str(error),
            fix="make it writable, or set XDG_CACHE_HOME to another folder",
        ) from error
    return target


def _publish(fresh: Path, target: Path) -> None:
    try:
        fresh.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster, with the same content
            raise
