"""A folder that appears whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def publish(staging: Path, target: Path) -> None:
    """Make the folder ``staging`` appear as ``target`` in one step, on disk before it does.

    What was at ``target`` ends up in ``staging``, on the same file system. Raises ``OSError``.
    """
    _sync(staging)
    if not target.exists():
        staging.rename(target)
        return
    # There is no portable way to replace a non-empty directory in one step; Linux can swap two.
    libc = ctypes.CDLL(None, use_errno=True)
    ends = os.fsencode(staging), os.fsencode(target)
    if libc.renameat2(_AT_FDCWD, ends[0], _AT_FDCWD, ends[1], _RENAME_EXCHANGE) == 0:
        return
    if ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))
    old = staging.with_name(f"{staging.name}.old")  # a file system without the swap (NFS)
    target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(directory: Path) -> None:
    """Force the content to disk before the rename makes it visible."""
    for path in [*directory.rglob("*"), directory]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
