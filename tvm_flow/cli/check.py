"""``tvm-flow check``."""

from __future__ import annotations

from dataclasses import asdict

import typer

from tvm_flow.cli.arguments import BundleArgument, Threads
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line


def register(app: typer.Typer) -> None:
    verb(app, "tvm-flow check build/t0", "tvm-flow check build/t0 --threads 1 --json")(check)


def check(bundle: BundleArgument, threads: Threads = None) -> Answer:
    """Check a bundle: every file's hash, the machine, and its sample's result.

    Fails on a changed file, another machine or runtime, or a number that differs from the
    reference's (PyTorch's, or ONNX Runtime's of an ONNX model).
    """
    from tvm_flow.api.check import check as checked  # noqa: PLC0415

    report = checked(bundle, threads=threads)
    data = {"bundle": str(bundle), "ok": True, **asdict(report)}
    against = f", against {report.reference}" if report.reference else ""
    return Answer(data, lambda: [line(f"{bundle} is sound: {report}{against}", "green")])
