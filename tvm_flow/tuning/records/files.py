"""Reading, appending to, repairing and promoting the files of a tuning log."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tvm_flow.support.errors import RecordError
from tvm_flow.tuning.records.record import SCHEMA, BadLine, ForeignLine, Header, Record, decode

#: Committed records a user starts from.
ZOO = "zoo.jsonl"
#: The user's own records; never committed.
LOCAL = "local.jsonl"


@dataclass
class LogFile:
    """What one ``*.jsonl`` holds. ``torn`` are the bytes of a last line cut short by a crash;
    ``open_end`` says that the last line is whole but lacks its newline."""

    path: Path
    header: Header | None = None
    records: list[Record] = field(default_factory=list)
    torn: bytes = b""
    open_end: bool = False


@dataclass(frozen=True)
class RepairReport:
    """``kept`` and ``moved``: number of lines by file name; moved ones lie in ``NAME.torn``."""

    kept: dict[str, int]
    moved: dict[str, int]


def log_files(directory: Path) -> list[Path]:
    """The log files of a board: the committed ones first, the user's own last."""
    return sorted(directory.glob("*.jsonl"), key=lambda path: (path.name == LOCAL, path.name))


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"Cannot read the tuning records {path}",
            why=error.strerror or str(error),
            fix=f"check the permissions of {path}",
        ) from error


def read_log(path: Path, target: str) -> LogFile:
    """Read and check one log. Only a torn last line is tolerated, and what editors leave behind: a
    byte-order mark, and blank lines.

    Raises :class:`RecordError` naming file, line and remedy on anything else that is wrong.
    """
    log = LogFile(path)
    data = read_bytes(path)
    body, newline, tail = data.removeprefix(BOM_UTF8).rpartition(b"\n")
    for number, line in enumerate(body.split(b"\n") if newline else [], start=1):
        try:
            if line.strip():
                _accept(log, line, target)
        except BadLine as error:
            raise _bad_line(path, number, error) from error
    if tail.strip():
        try:
            _accept(log, tail, target)
            log.open_end = True
        except ForeignLine as error:
            raise _bad_line(path, body.count(b"\n") + 2, error) from error
        except BadLine:
            log.torn = tail
    return log


def _accept(log: LogFile, line: bytes, target: str) -> None:
    entry = decode(line, target)
    if isinstance(entry, Header):
        log.header = log.header or entry
    elif log.header is None:
        raise BadLine("the first line must be a header")
    else:
        log.records.append(entry)


def _bad_line(path: Path, number: int, error: BadLine) -> RecordError:
    if isinstance(error, ForeignLine):
        fix = f"move {path.name} out of {path.parent}, or into the folder of its own board"
    else:
        fix = f"tvm-flow records repair {path.parent}"
    return RecordError(f"{path}:{number} is not a valid tuning record", why=str(error), fix=fix)


class Appender:
    """Appends whole lines to one log file, each safely on disk before the call returns.

    A log of an older schema is rewritten first; the caller holds the board's lock.
    """

    def __init__(self, path: Path, target: str, cpu_model: str = "") -> None:
        self.path = path
        log = read_log(path, target) if path.exists() else LogFile(path)
        if log.header is not None and log.header.schema != SCHEMA:
            _rewrite(log)
            log = read_log(path, target)
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _cannot_write(path, error) from error
        try:
            self._mend(log)
            if log.header is None:
                self.append(Header.now(target, cpu_model).encode())
        except BaseException:
            self.close()
            raise

    def _mend(self, log: LogFile) -> None:
        """Move a torn tail to a side file, or end a whole last line."""
        try:
            if log.torn:
                _append_to_side_file(self.path, [log.torn])
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - len(log.torn))
                os.fsync(self._fd)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        if log.open_end:
            self.append(b"\n")

    def append(self, data: bytes) -> None:
        """Write ``data`` whole or not at all. Raises :class:`RecordError`."""
        before = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError(0, "no room for a whole record")
            os.fsync(self._fd)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, before)
            raise _cannot_write(self.path, error) from error

    def close(self) -> None:
        os.close(self._fd)


def _cannot_write(path: Path, error: OSError) -> RecordError:
    return RecordError(
        f"Cannot write the tuning records {path}",
        why=error.strerror or str(error),
        fix=f"make {path.parent} writable and free some space there, then run the same command: "
        "it goes on from what is recorded",
    )


def repair(directory: Path | str) -> RepairReport:
    """Move every line that is not valid out of the logs of one board, into ``NAME.torn``.

    The folder's name is the target its files must be of. Raises :class:`RecordError` if the
    folder does not exist or cannot be written; a log of another board is left alone and raises.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise RecordError(
            f"No tuning records at {directory}", fix="name the folder of a board in tuning_logs/"
        )
    kept: dict[str, int] = {}
    moved: dict[str, int] = {}
    for path in log_files(directory):
        good, bad = _sort_lines(path, directory.name)
        kept[path.name], moved[path.name] = len(good), len(bad)
        mended = b"".join(line + b"\n" for line in good)
        if mended == read_bytes(path):
            continue
        try:
            _append_to_side_file(path, bad)
        except OSError as error:
            raise _cannot_write(path, error) from error
        replace(path, mended)
    return RepairReport(kept, moved)


def migrate(directory: Path, target: str) -> dict[str, int]:
    """Rewrite the logs of a board in the present schema, nothing left out; the caller holds the
    board's lock. A torn last line goes to ``NAME.torn``.

    Returns the number of records by file name, of the files that changed. Raises
    :class:`RecordError` if a log is damaged, of another board, or cannot be written; each file is
    rewritten whole or not at all.
    """
    logs = [read_log(path, target) for path in log_files(directory)]
    return {log.path.name: len(log.records) for log in logs if _rewrite(log)}


def _rewrite(log: LogFile) -> bool:
    """Write a log in the present schema; false if that changes nothing."""
    header = log.header or Header.now(log.path.parent.name)
    data = b"".join([header.encode(), *(record.encode() for record in log.records)])
    if data == read_bytes(log.path):
        return False
    try:
        _append_to_side_file(log.path, [log.torn] if log.torn else [])
    except OSError as error:
        raise _cannot_write(log.path, error) from error
    replace(log.path, data)
    return True


def _sort_lines(path: Path, target: str) -> tuple[list[bytes], list[bytes]]:
    """Valid lines of a log, a header first (a new one if it was lost), and the invalid ones."""
    headers: list[bytes] = []
    trials: list[bytes] = []
    bad: list[bytes] = []
    data = read_bytes(path)
    for number, line in enumerate(data.removeprefix(BOM_UTF8).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = decode(line, target)
        except ForeignLine as error:
            raise _bad_line(path, number, error) from error
        except BadLine:
            bad.append(line)
        else:
            (headers if isinstance(entry, Header) else trials).append(line)
    return [*(headers or [Header.now(target).encode().rstrip(b"\n")]), *trials], bad


def _append_to_side_file(path: Path, lines: list[bytes]) -> None:
    if not lines:
        return
    with open(path.with_name(path.name + ".torn"), "ab") as side:
        side.writelines(line + b"\n" for line in lines)
        side.flush()
        os.fsync(side.fileno())


def replace(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically: a reader sees the old or the new file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise _cannot_write(path, error) from error
