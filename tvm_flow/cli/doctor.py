"""``tvm-flow doctor``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import Records
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line
from tvm_flow.support.errors import EnvironmentFault

if TYPE_CHECKING:
    from tvm_flow.api.doctor import Check


def register(app: typer.Typer) -> None:
    verb(app, "tvm-flow doctor", "tvm-flow doctor --json", busy="examining the installation")(
        doctor
    )


def doctor(records: Records = None) -> Answer:
    """Check the installation and print the fix for whatever is wrong.

    Versions, ABI, code generation, linkers, system packages, cores, load, folder of tuning records.
    A warning makes timings doubtful, or emulated boards impossible, and is no failure.
    """
    from tvm_flow.api.boards import records_root  # noqa: PLC0415
    from tvm_flow.api.doctor import diagnose  # noqa: PLC0415

    checks = diagnose(records_root(records))
    failed = any(not check.ok and not check.warning for check in checks)
    return Answer(
        [asdict(check) for check in checks],
        lambda: show(checks),
        EnvironmentFault.exit_code if failed else 0,
    )


def show(checks: list[Check]) -> Iterable[RenderableType]:
    """One line per check, and its fix below it."""
    styles = {"ok": "green", "warning": "yellow", "FAILED": "bold red"}
    for check in checks:
        word = "ok" if check.ok else "warning" if check.warning else "FAILED"
        text = line(f"{word:8}", styles[word])
        yield text.append(f"{check.name}: {check.detail}", "")
        if check.fix:
            yield line(f"        fix: {check.fix}")
    bad = sum(not check.ok and not check.warning for check in checks)
    yield line(f"{bad} problem(s)" if bad else "ready", "bold red" if bad else "bold green")
