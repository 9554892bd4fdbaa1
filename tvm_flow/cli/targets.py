"""``tvm-flow targets``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import complete_target
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line, table
from tvm_flow.targets import Board


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow targets",
        "tvm-flow targets rk3399",
        "tvm-flow targets native --json",
        name="targets",
    )(list_targets)


def list_targets(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="One board in detail: a name or a .toml file.",
            autocompletion=complete_target,
            show_default=False,
        ),
    ] = None,
) -> Answer:
    """List the boards, or describe one."""
    from tvm_flow import targets  # noqa: PLC0415 - this module has the same name
    from tvm_flow.api.boards import board_of  # noqa: PLC0415

    if name is not None:
        board = board_of(name)
        return Answer(describe(board), lambda: _one(board))
    boards = [board_of(known) for known in targets.names()]
    return Answer([describe(board) for board in boards], lambda: _all(boards))


def describe(board: Board) -> dict[str, object]:
    """The board as plain data, with its TVM target and theoretical peak."""
    return {
        **asdict(board),
        "log_name": board.log_name,
        "tvm_target": board.tvm_target(),
        "peak_gflops": board.peak_gflops(board.threads),
    }


def _all(boards: list[Board]) -> Iterable[RenderableType]:
    made = table("name", "SoC", "mcpu", ">threads", ">SIMD", "GPU", flexible=["SoC"])
    for board in boards:
        gpu = f"sm_{board.gpu.sm}" if board.gpu else "-"
        made.add_row(
            board.name, board.soc, board.mcpu, str(board.threads), f"{32 * board.lanes} bit", gpu
        )
    yield made
    yield line("\nA target may also be the path of a .toml file of your own.")


def _one(board: Board) -> Iterable[RenderableType]:
    yield line(f"{board.name}: {board.title}", "bold")
    made = table("property", "value")
    peak = board.peak_gflops(board.threads)
    rows = {
        "SoC": board.soc,
        "code": f"{board.mtriple}, {board.mcpu}",
        "runs on": f"cores {', '.join(map(str, board.cores))} with {board.threads} thread(s)",
        "vector": f"{32 * board.lanes} bit, {board.vector_registers} registers",
        "caches": f"L1 {board.l1_bytes // 1024} KiB, L2 {board.l2_bytes // 1024} KiB per core",
        "peak": f"{peak:.0f} GFLOP/s fp32, theoretical" if peak else "unknown",
        "memory": f"{board.ram_gib:g} GiB, "
        + (f"{board.dram_gbps:g} GB/s" if board.dram_gbps else "bandwidth unknown"),
        "glibc": f"{board.glibc_floor} or newer",
        "GPU": f"{board.gpu.name}, sm_{board.gpu.sm}" if board.gpu else "-",
        "records": f"tuning_logs/{board.log_name}",
    }
    for name, value in rows.items():
        made.add_row(name, value)
    yield made
    clusters = table("cluster", "mcpu", "cores", ">MHz", ">L1 KiB", ">L2 KiB", ">GFLOP/s per core")
    for c in board.clusters:
        clusters.add_row(
            c.name, c.mcpu, ",".join(map(str, c.cores)), str(c.max_mhz or "-"), str(c.l1d_kib),
            f"{c.l2_kib} / {c.l2_shared_by}", f"{c.peak_gflops:.1f}",
        )  # fmt: skip
    yield clusters
    for source in board.sources:
        yield line(f"source: {source}", "dim")
