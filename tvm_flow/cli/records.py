"""``tvm-flow records show|repair|promote|migrate``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import Records, Target
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import duration, line, notes, table

if TYPE_CHECKING:
    from tvm_flow.api.records import RecordsReport

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


def show(folder: Folder = None, target: Target = "native", records: Records = None) -> Answer:
    """List what is recorded: trials, failures and the best time of every kernel."""
    from tvm_flow.api.records import show_records  # noqa: PLC0415 - imports TVM

    report = show_records(folder, target=target, records=records)
    return Answer(report.to_json(), lambda: _tables(report))


def _tables(report: RecordsReport) -> Iterable[RenderableType]:
    folders = " and ".join(str(f) for f in (report.committed, report.directory) if f)
    yield line(f"{folders}: {report.records} records", "bold")
    if report.kernels:
        made = table(
            "kernel", ">threads", ">trials", ">best", "label", "record", flexible=["kernel"]
        )
        for kernel in report.kernels:
            made.add_row(
                kernel.name, str(kernel.threads), str(kernel.trials), duration(kernel.best_s),
                kernel.label or "-", kernel.sha or "-",
            )  # fmt: skip
        yield made
    for cause, times in report.causes.items():
        yield line(f"{times} trials failed, {cause}")
    yield from notes(report.notes)


def repair(folder: Folder = None, target: Target = "native", records: Records = None) -> Answer:
    """Move damaged lines out of the records of a board, into NAME.torn beside them."""
    from tvm_flow.api.records import folder_of, repair_records  # noqa: PLC0415

    where = folder_of(folder, target, records)
    report = repair_records(where)
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
    from tvm_flow.api.records import folder_of, promote_records  # noqa: PLC0415

    where = folder_of(folder, target, records)
    count = promote_records(where)
    data = {"directory": str(where), "records": count}
    return Answer(data, lambda: [line(f"{where}/zoo.jsonl holds {count} records")])


def migrate(folder: Folder = None, target: Target = "native", records: Records = None) -> Answer:
    """Rewrite records of an older version of tvm-flow as this version writes them."""
    from tvm_flow.api.records import folder_of, migrate_records  # noqa: PLC0415

    where = folder_of(folder, target, records)
    files = migrate_records(where)
    data = {"directory": str(where), "migrated": files}
    done = [f"{where / name}: {count} records rewritten" for name, count in files.items()]
    return Answer(data, lambda: [line(text) for text in done or [f"{where}: nothing to do"]])
