"""``tvm-flow records show|repair|promote|migrate``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import Records, Target
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import duration, line, notes, table

if TYPE_CHECKING:
    from tvm_flow.tuning.records.store import RecordStore

Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="DIR",
        help="Folder of one board, such as tuning_logs/rk3399; by default that of --target.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Look at, repair, promote and migrate tuning records.", no_args_is_help=True
    )
    verb(group, "tvm-flow records show", "tvm-flow records show --target rk3399 --json")(show)
    verb(group, "tvm-flow records repair", "tvm-flow records repair tuning_logs/rk3399")(repair)
    verb(group, "tvm-flow records promote")(promote)
    verb(group, "tvm-flow records migrate", "tvm-flow records migrate my_logs/rk3399")(migrate)
    app.add_typer(group, name="records")


def folder_of(folder: Path | None, target: str, records: Path | None) -> Path:
    """The folder named, or that of the target's records."""
    from tvm_flow.api.boards import board_of, records_of  # noqa: PLC0415

    return folder or records_of(board_of(target), records)


def show(folder: Folder = None, target: Target = "native", records: Records = None) -> Answer:
    """List what is recorded: trials, failures and the best time of every kernel."""
    from tvm_flow.api.boards import board_of, store_of  # noqa: PLC0415
    from tvm_flow.tuning.records.store import RecordStore  # noqa: PLC0415

    store = RecordStore(folder) if folder else store_of(board_of(target), records)
    rows = list(_rows(store))
    failures = Counter(r.status for r in store.records if not r.ok)
    causes = Counter(f"{r.status}: {r.cause}" for r in store.records if not r.ok)
    data = {
        "directory": str(store.directory),
        "committed": str(store.committed) if store.committed else None,
        "target": store.target,
        "records": len(store),
        "failures": dict(failures),
        "causes": dict(causes.most_common(10)),
        "kernels": rows,
        "notes": store.notes,
    }
    return Answer(data, lambda: _tables(data))


def _rows(store: RecordStore) -> Iterable[dict[str, Any]]:
    from tvm_flow.tuning.records.record import TRUSTED  # noqa: PLC0415

    groups: dict[tuple[str, int], int] = Counter((r.workload, r.threads) for r in store.records)
    for (workload, threads), trials in sorted(groups.items()):
        kinds = (store.best(workload, threads, labels=[label]) for label in TRUSTED)
        best = next(filter(None, kinds), None)
        fits = best is not None and best.threads == threads
        problem, _, algorithm = workload.rpartition(":")
        yield {
            "problem": problem,
            "algorithm": algorithm,
            "threads": threads,
            "trials": trials,
            "best_s": best.median_s if best and fits else None,
            "knobs": best.knobs if best and fits else None,
            "sha": best.sha if best and fits else None,
            "label": best.label if best and fits else None,
        }


def _tables(data: dict[str, Any]) -> Iterable[RenderableType]:
    from tvm_flow.schedules.contract.problem import Problem, Workload  # noqa: PLC0415
    from tvm_flow.tuning.search.progress import short_name  # noqa: PLC0415

    folders = " and ".join(filter(None, (data["committed"], data["directory"])))
    yield line(f"{folders}: {data['records']} records", "bold")
    if data["kernels"]:
        made = table("kernel", ">threads", ">trials", ">best", "label", "record")
        for row in data["kernels"]:
            made.add_row(
                short_name(Workload(Problem.parse(row["problem"]), row["algorithm"])),
                str(row["threads"]),
                str(row["trials"]), duration(row["best_s"]), row["label"] or "-", row["sha"] or "-",
            )  # fmt: skip
        yield made
    for cause, times in data["causes"].items():
        yield line(f"{times} trials failed, {cause}")
    yield from notes(data["notes"])


def repair(folder: Folder = None, target: Target = "native", records: Records = None) -> Answer:
    """Move damaged lines out of the records of a board, into NAME.torn beside them."""
    from tvm_flow.tuning.records.files import repair as repaired  # noqa: PLC0415

    where = folder_of(folder, target, records)
    report = repaired(where)
    data = {"directory": str(where), "kept": report.kept, "moved": report.moved}
    return Answer(
        data,
        lambda: [
            line(f"{where / name}: {kept} lines kept, {report.moved[name]} moved to {name}.torn")
            for name, kept in report.kept.items()
        ],
    )


def promote(folder: Folder = None, target: Target = "native", records: Records = None) -> Answer:
    """Merge the best record of every kernel into zoo.jsonl, the file to commit."""
    from tvm_flow.tuning.records.store import promote as promoted  # noqa: PLC0415

    where = folder_of(folder, target, records)
    best = promoted(where)
    data = {"directory": str(where), "records": len(best)}
    return Answer(data, lambda: [line(f"{where}/zoo.jsonl holds {len(best)} records")])


def migrate(folder: Folder = None, target: Target = "native", records: Records = None) -> Answer:
    """Rewrite records of an older version of tvm-flow as this version writes them."""
    from tvm_flow.tuning.records.store import migrate as migrated  # noqa: PLC0415

    where = folder_of(folder, target, records)
    files = migrated(where)
    data = {"directory": str(where), "migrated": files}
    done = [f"{where / name}: {count} records rewritten" for name, count in files.items()]
    return Answer(data, lambda: [line(text) for text in done or [f"{where}: nothing to do"]])
