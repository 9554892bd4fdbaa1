"""``records``: look at tuning records, mend them, merge them, rewrite old ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvm_flow.api.boards import board_of, records_of, store_of
from tvm_flow.api.values import TargetLike, target_value
from tvm_flow.tuning.records import files, store
from tvm_flow.tuning.records.record import TRUSTED
from tvm_flow.tuning.records.store import RecordStore

_MOST_CAUSES = 10


@dataclass(frozen=True)
class RecordedKernel:
    """One workload on one number of threads: its trials, and the best record, if one counts.

    ``name`` is the workload in a few words; ``best_s`` is in seconds per call, of the kind that
    ``label`` says.
    """

    problem: str
    algorithm: str
    name: str
    threads: int
    trials: int
    best_s: float | None = None
    knobs: Mapping[str, int] | None = None
    sha: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class RecordsReport:
    """What is recorded of one board: in ``directory``, and in ``committed`` where records came
    with the installation. ``failures`` counts trials by status, ``causes`` the commonest reasons.
    """

    directory: Path
    committed: Path | None
    target: str
    records: int
    failures: Mapping[str, int]
    causes: Mapping[str, int]
    kernels: tuple[RecordedKernel, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "directory": str(self.directory),
            "committed": str(self.committed) if self.committed else None,
            "notes": list(self.notes),
        }


def folder_of(
    folder: str | Path | None, target: TargetLike = "native", records: str | Path | None = None
) -> Path:
    """The folder named, or that of the target's records. Raises :class:`TargetError`."""
    if folder is not None:
        return Path(folder)
    return records_of(board_of(target), records, target_value(target).device)


def show_records(
    folder: str | Path | None = None,
    *,
    target: TargetLike = "native",
    records: str | Path | None = None,
) -> RecordsReport:
    """What is recorded: in ``folder``, or of ``target``.

    Raises :class:`RecordError` for damaged records, :class:`TargetError`.
    """
    if folder is not None:
        found = RecordStore(folder)
    else:
        found = store_of(board_of(target), records, target_value(target).device)
    failed = [record for record in found.records if not record.ok]
    causes = Counter(f"{record.status}: {record.cause}" for record in failed)
    return RecordsReport(
        directory=found.directory,
        committed=found.committed,
        target=found.target,
        records=len(found),
        failures=dict(Counter(record.status for record in failed)),
        causes=dict(causes.most_common(_MOST_CAUSES)),
        kernels=tuple(_kernels(found)),
        notes=tuple(found.notes),
    )


def _kernels(found: RecordStore) -> Iterator[RecordedKernel]:
    from tvm_flow.schedules.contract.problem import Workload  # noqa: PLC0415 - imports TVM

    groups = Counter((record.workload, record.threads) for record in found.records)
    for (key, threads), trials in sorted(groups.items()):
        kinds = (found.best(key, threads, labels=[label]) for label in TRUSTED)
        best = next(filter(None, kinds), None)
        workload = Workload.parse(key)
        names = (workload.problem.key, workload.algorithm, workload.short_name)
        if best is not None and best.threads == threads:
            yield RecordedKernel(
                *names, threads, trials, best.median_s, best.knobs, best.sha, best.label
            )
        else:
            yield RecordedKernel(*names, threads, trials)


def repair_records(folder: str | Path) -> files.RepairReport:
    """Move damaged lines of a folder's records into ``NAME.torn`` beside them. Raises
    :class:`RecordError` where they are in use or cannot be written."""
    return files.repair(Path(folder))


def promote_records(folder: str | Path) -> int:
    """Merge the best record of every kernel into ``zoo.jsonl``, and say how many it holds. Raises
    :class:`RecordError` for damaged records, or where they are in use or cannot be written."""
    return len(store.promote(Path(folder)))


def migrate_records(folder: str | Path) -> dict[str, int]:
    """Rewrite records of an older version as this version writes them: records per file that was
    rewritten. Raises as :func:`promote_records` does."""
    return store.migrate(Path(folder))
