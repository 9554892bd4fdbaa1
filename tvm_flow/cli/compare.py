"""``tvm-flow compare``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import (
    Input,
    Key,
    ModelArgument,
    ModelOption,
    Records,
    Sample,
    Target,
    ThreadList,
    Tracker,
    Weights,
    given_model,
    given_tracker,
    thread_counts,
)
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line, milliseconds, notes, say, shape_text, table

if TYPE_CHECKING:
    from tvm_flow.api.compare import CompareResult
    from tvm_flow.api.compare_board import BoardComparison

NAMES = {
    "eager": "PyTorch eager",
    "eager_bn_folded": "PyTorch, BN folded",
    "eager_channels_last": "PyTorch, BN folded, channels_last",
    "bundle": "tvm-flow",
}


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow compare fasternet_t0 --threads 1,2",
        "tvm-flow compare resnet18 --weights resnet18.pth --rounds 40 --json",
        "tvm-flow compare fasternet_t0 --bundle build/t0",
        "tvm-flow compare fasternet_t0 --target rk3399 --tracker 192.168.1.2:9190",
        busy="comparing with PyTorch",
    )(compare)


def compare(
    *,
    model: ModelArgument = None,
    model_option: ModelOption = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="DIR",
            help="A bundle of this model; by default one is compiled per thread count.",
            show_default=False,
        ),
    ] = None,
    target: Target = "native",
    threads: ThreadList = "1",
    weights: Weights = None,
    input: Input = None,
    sample: Sample = None,
    records: Records = None,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", help="Undisturbed rounds to take.")
    ] = 20,
    tracker: Tracker = None,
    key: Key = None,
) -> Answer:
    """Compare a compiled model with PyTorch eager: time and numerics, here or on a board.

    Same cores and threads, each competitor in its own process, in turns; the others are stopped
    meanwhile. A comparison disturbed by other load says so and is not valid. With --tracker both
    run on a board of --target; PyTorch only if it is installed there.
    """
    given = given_model(model, model_option, weights, input, sample)
    there = given_tracker(tracker, key)
    counts = thread_counts(threads)
    if there is not None:
        from tvm_flow.api.compare_board import compare_board  # noqa: PLC0415 - imports torch

        compared_there = compare_board(
            given, target=target, tracker=there, bundle=bundle, threads=counts, records=records,
            runs=rounds, on_wait=say,
        )  # fmt: skip
        return Answer(
            [result.to_json() for result in compared_there],
            lambda: (part for result in compared_there for part in show_board(result)),
        )
    from tvm_flow.api.compare import compare as compared  # noqa: PLC0415 - imports torch

    results = compared(
        given,
        bundle=bundle,
        target=target,
        threads=counts,
        records=records,
        rounds=rounds,
    )
    return Answer(
        [result.to_json() for result in results],
        lambda: (part for result in results for part in show(result)),
    )


def show_board(result: BoardComparison) -> Iterable[RenderableType]:
    """One thread count, on a board."""
    where = f"{result.target} ({result.board})" if result.board else result.target
    yield line(f"{result.model} on {where}, {result.threads} thread(s), fp32", "bold")
    made = table("", ">median ms", ">p10", ">p90", ">speed-up")
    mark = "" if result.label == "measured" else f" ({result.label})"
    rows = [("PyTorch eager", result.eager, result.speedup), ("tvm-flow", result.bundle, None)]
    for name, timing, ratio in rows:
        if timing is not None:
            times = [milliseconds(t) for t in (timing.median_ms, timing.p10_ms, timing.p90_ms)]
            made.add_row(name + mark, *times, f"{ratio:.2f}x" if ratio else "")
    yield made
    yield line(
        f"max relative error on the board against PyTorch here {result.max_rel_error:.1e} "
        f"(tolerance {result.tolerance:.0e})"
    )
    if result.eager_max_rel_error is not None:
        yield line(f"and against PyTorch on the board {result.eager_max_rel_error:.1e}")
    if result.eager is None:
        yield line(f"PyTorch eager was not run on the board: {result.eager_missing}")
    yield line(_conditions(result))
    yield from notes(result.notes)
    yield (
        line("valid\n", "green")
        if result.valid
        else line(f"NOT VALID: {result.reason}\n", "bold red")
    )


def _conditions(result: BoardComparison) -> str:
    """Temperature and clocks before and after."""
    told = []
    for status in (result.before, result.after):
        celsius, clocks = status.get("temperature_c"), [c for c in status.get("mhz") or [] if c]
        told.append(f"{celsius:.0f} °C" if celsius is not None else "temperature unknown")
        told[-1] += f", {min(clocks):.0f} MHz" if clocks else ", clock unknown"
    governors = sorted({name for name in result.before.get("governor") or [] if name})
    return f"before {told[0]}; after {told[1]}; governor {', '.join(governors) or 'unknown'}"


def _cache_line(values_ns: Sequence[float]) -> str:
    """What every hand-over between two threads costs at least."""
    if not values_ns:
        return "how long a cache line takes between the cores was not measured"
    return (
        f"a cache line between the cores takes {median(values_ns):.0f} ns "
        f"({min(values_ns):.0f}-{max(values_ns):.0f} over the rounds)"
    )


def show(result: CompareResult) -> Iterable[RenderableType]:
    """One thread count."""
    yield line(
        f"{result.model}, input {shape_text(result.input_shape)}, {result.threads} thread(s), fp32",
        "bold",
    )
    made = table("", ">median ms", ">p10", ">p90", ">speed-up")
    for key, name in NAMES.items():
        timing = getattr(result, key)
        ratio = timing.median_ms / result.bundle.median_ms
        if key == "eager":
            ratio = result.speedup
        times = [milliseconds(t) for t in (timing.median_ms, timing.p10_ms, timing.p90_ms)]
        made.add_row(name, *times, "" if key == "bundle" else f"{ratio:.2f}x")
    yield made
    numerics = result.numerics
    several = f", all {numerics.outputs} outputs" if numerics.outputs > 1 else ""
    yield line(
        f"against eager on {numerics.inputs} inputs{several}: max relative error "
        f"{numerics.max_rel_error:.1e}, cosine {numerics.cosine:.6f}, "
        f"top-1 agreement {100 * numerics.top1_agreement:.0f} %"
    )
    if result.threads > 1:
        yield line(_cache_line(result.cache_line_ns))
    if result.valid:
        yield line(f"valid: {result.rounds} undisturbed rounds\n", "green")
    else:
        yield line(f"NOT VALID: {result.reason}\n", "bold red")
