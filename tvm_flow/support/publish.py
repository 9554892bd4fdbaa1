"""A folder that appears whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tvm_flow.support.errors import CompileError, UsageError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def refuse_foreign(
    target: Path, what: str, is_ours: Callable[[Path], bool], option: str = "--output"
) -> None:
    """Raise :class:`UsageError` where ``target`` is in use and not one of our own (``what``), and
    :class:`CompileError` where it cannot be looked at. ``option`` is what names it."""
    try:
        occupied = target.exists() and (not target.is_dir() or any(target.iterdir()))
        ours = occupied and target.is_dir() and is_ours(target)
    except OSError as error:
        raise CompileError(
            f"cannot read {target}",
            why=error.strerror or str(error),
            fix=f"choose another {option}",
        ) from error
    if occupied and not ours:
        raise UsageError(
            f"{target} exists and is not a {what}",
            why="writing there would delete what is in it",
            fix=f"choose another {option}, or empty it",
        )


@contextmanager
def beside(place: Path) -> Iterator[Path]:
    """An empty folder next to ``place``, deleted where the block ends and has not moved it.

    Its name is known before it is made (``tempfile`` tells it after): a Ctrl-C in between leaves
    nothing either. Raises ``OSError``.
    """
    folder = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replaced(target: Path, what: str) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``target`` in one step where the block ends
    without an exception; else ``target`` stays as it was. Nothing is left beside it either way.

    Where ``target`` is a link, what it leads to is replaced. Raises :class:`CompileError` for an
    ``OSError``, also for one of the block: ``what`` (a bundle, a kit) cannot be written.
    """
    try:
        place = target.resolve()
        with beside(place) as staging:
            yield staging
            publish(staging, place)
    except OSError as error:
        above = str(target.parent)
        cause = error.strerror or str(error)
        raise CompileError(
            f"cannot write the {what} {target}",
            why=f"{above}: {cause}" if error.filename == above else cause,
            fix="free some space, or choose another --output",
        ) from error


def write_file(path: Path, content: bytes, option: str) -> None:
    """Write a file that appears whole or not at all; what is no file, such as a pipe, is written
    to.

    Raises :class:`CompileError`; ``option`` is what names ``path``.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb", buffering=0) as file:
                file.write(content)
            return
        with beside(path) as folder:
            fresh = folder / path.name
            fresh.write_bytes(content)
            _sync(folder)
            fresh.replace(path)
    except OSError as error:
        raise CompileError(
            f"cannot write {path}",
            why=error.strerror or str(error),
            fix=f"free some space, or choose another {option}",
        ) from error


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
