"""The tuning records of one board: what is known, what is best, and a safe place to add more."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_flow.support.errors import RecordError
from tvm_flow.tuning.records.files import LOCAL, ZOO, Appender, log_files, read_log, replace
from tvm_flow.tuning.records.files import migrate as migrate_files
from tvm_flow.tuning.records.record import FrozenKnobs, Header, Record

if TYPE_CHECKING:
    from tvm_flow.schedules.contract.problem import Workload

SpaceLike = Mapping[str, Sequence[int]]


def in_space(knobs: Mapping[str, int], space: SpaceLike) -> bool:
    """Whether ``space`` offers exactly these knobs with these values."""
    return knobs.keys() == space.keys() and all(knobs[name] in space[name] for name in space)


class RecordStore:
    """All ``*.jsonl`` of one board's folder: committed ones first, the user's own last.

    Reading needs no lock and changes nothing. Adding needs :meth:`writing`, which one process at
    a time can hold. ``notes`` are one-line remarks on what was tolerated while reading.

    Parameters
    ----------
    directory: ``tuning_logs/<board.log_name>``; may not exist yet.
    target: the board's ``log_name``; by default the folder's name.
    committed: another folder of the same board that is read first and never written to: the
        records that were installed with the package.
    """

    def __init__(
        self,
        directory: Path | str,
        target: str | None = None,
        *,
        committed: Path | None = None,
    ) -> None:
        """Read and check every log. Raises :class:`RecordError` naming file, line and fix."""
        self.directory = Path(directory)
        self.committed = committed
        self.target = target or self.directory.name
        self.notes: list[str] = []
        self.records: list[Record] = []
        self._appender: Appender | None = None
        self._load()

    def _load(self) -> None:
        self.notes, self.records = [], []
        for path in [*(log_files(self.committed) if self.committed else []),
                     *log_files(self.directory)]:  # fmt: skip
            log = read_log(path, self.target)
            self.records += log.records
            if log.torn:
                self.notes.append(
                    f"{path} ends in a torn line of {len(log.torn)} bytes, left out "
                    f"(moved to {path.name}.torn when next written)"
                )

    @contextmanager
    def writing(self, *, cpu_model: str = "", writer: str = LOCAL) -> Iterator[RecordStore]:
        """Hold the board's lock and open ``writer`` for :meth:`add`; a torn tail is moved aside.

        Raises :class:`RecordError` at once if another process holds the lock, or if the folder
        cannot be written.
        """
        with _locked(self.directory):
            self._load()  # what another process added before the lock was ours
            self._appender = Appender(self.directory / writer, self.target, cpu_model)
            try:
                yield self
            finally:
                self._appender.close()
                self._appender = None

    def add(self, record: Record) -> None:
        """Write one record; it is safely on disk when this returns.

        Raises :class:`RecordError` (disk full, read-only); earlier records stay intact.
        """
        if self._appender is None:
            raise RuntimeError("RecordStore.add outside of RecordStore.writing")
        self._appender.append(record.encode())
        self.records.append(record)

    def of(self, workload: Workload | str, threads: int | None = None) -> list[Record]:
        """Records of one workload, oldest first; with ``threads`` only those."""
        key = _key(workload)
        return [r for r in self.records if r.workload == key and threads in (None, r.threads)]

    def best(
        self,
        workload: Workload | str,
        threads: int,
        *,
        space: SpaceLike | None = None,
        labels: Sequence[str] = ("measured",),
    ) -> Record | None:
        """The record to build from: tuned for ``threads``, else for more. One for fewer threads may
        leave cores without work, and the defaults for ``threads`` are better (decision 0013).

        Where the finalists of a tuner run were measured again side by side, trials before that
        no longer count, because a single trial may have been lucky. With
        ``space``, records whose knobs it no longer offers are left out (see :meth:`stale`).
        """
        usable = [
            record
            for record in self.of(workload)
            if record.ok
            and record.threads >= threads
            and record.label in labels
            and (space is None or in_space(record.knobs, space))
        ]
        exact = [record for record in usable if record.threads == threads]
        return _best_of(exact or usable)

    def tried(
        self, workload: Workload | str, threads: int, *, labels: Sequence[str] = ("measured",)
    ) -> set[FrozenKnobs]:
        """Every choice of knobs with a recorded outcome, good or bad: nothing to try again."""
        return {r.frozen_knobs for r in self.of(workload, threads) if r.label in labels}

    def stale(self, workload: Workload | str, space: SpaceLike) -> list[Record]:
        """Records whose knobs ``space`` no longer offers; they are kept but not used."""
        return [record for record in self.of(workload) if not in_space(record.knobs, space)]

    def __len__(self) -> int:
        return len(self.records)


def promote(directory: Path | str, *, cpu_model: str = "") -> list[Record]:
    """Merge the best record per workload and thread count of all logs into ``zoo.jsonl``.

    The file is replaced atomically; the user's own log stays. Returns what the zoo then holds.
    Raises :class:`RecordError` if a log is damaged, a tuner is running or the folder is read-only.
    """
    directory = Path(directory)
    with _locked(directory):
        store = RecordStore(directory)
        groups: dict[tuple[str, int, str], list[Record]] = {}
        for record in store.records:
            if record.ok:
                groups.setdefault((record.workload, record.threads, record.label), []).append(
                    record
                )
        best = [found for _, group in sorted(groups.items()) if (found := _best_of(group))]
        zoo = directory / ZOO
        old = read_log(zoo, store.target).header if zoo.exists() else None
        if old and not cpu_model:
            header = old
        else:  # a new zoo is of the machine that its trials were made on
            header = Header.now(store.target, cpu_model or _cpu_model(directory, store.target))
        replace(zoo, b"".join([header.encode(), *(record.encode() for record in best)]))
    return best


def migrate(directory: Path | str) -> dict[str, int]:
    """Rewrite the logs of one board that are of an older schema in the present one.

    Returns the number of records by file name, of the files that changed. Raises
    :class:`RecordError` if the folder does not exist, a log is damaged, a tuner is running or the
    folder is read-only.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise RecordError(
            f"No tuning records at {directory}", fix="name the folder of a board in tuning_logs/"
        )
    with _locked(directory):
        return migrate_files(directory, directory.name)


def _cpu_model(directory: Path, target: str) -> str:
    """The CPU model that the user's own log names, if there is one."""
    log = directory / LOCAL
    header = read_log(log, target).header if log.exists() else None
    return header.cpu_model if header else ""


def _best_of(records: Iterable[Record]) -> Record | None:
    """Fastest of the last side-by-side comparison and of what was tried after it."""
    comparable: list[Record] = []
    session = None
    for record in records:
        if record.stage == "final" and record.session != session:
            comparable, session = [], record.session
        comparable.append(record)
    return min(comparable, key=lambda record: record.seconds, default=None)


def _key(workload: Workload | str) -> str:
    return workload if isinstance(workload, str) else workload.key


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Exclusive use of a board's logs for as long as the context lasts."""
    path = directory / ".lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RecordError(
            f"Cannot write to the tuning records in {directory}",
            why=error.strerror or str(error),
            fix=f"make {directory} a writable folder, or choose another with --records",
        ) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise RecordError(
                f"The tuning records in {directory} are in use",
                why=f"process {holder} is tuning this board",
                fix=f"wait for it, or end it (kill -INT {holder}); nothing recorded is lost",
            ) from error
        _sign(fd)
        yield
    finally:
        os.close(fd)


def _sign(fd: int) -> None:
    """Leave our process id in the lock file, for the message of whoever comes second."""
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except OSError:  # a full disk: the lock itself holds all the same
        os.ftruncate(fd, 0)
