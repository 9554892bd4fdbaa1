"""The command line inside a bundle (``python run.py``): check, classify, time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from tvm_flow.runtime.bundle import Bundle, load
from tvm_flow.runtime.inputs import load_input, top_k
from tvm_flow.runtime.sample import check
from tvm_flow.support.errors import TvmFlowError


def main(directory: Path, argv: list[str] | None = None) -> int:
    """Run the bundle in ``directory``; returns the exit code."""
    parser = argparse.ArgumentParser(prog="run.py", description="Run this compiled network.")
    parser.add_argument("input", nargs="?", type=Path, help="picture, .npy or raw .bin tensor")
    parser.add_argument("--threads", type=int, help="worker threads (default: as compiled for)")
    parser.add_argument("--runs", type=int, default=50, help="timed runs (0: no timing)")
    parser.add_argument("--top", type=int, default=5, help="classes to print")
    parser.add_argument("--check", action="store_true", help="compare with the stored result")
    options = parser.parse_args(argv)
    try:
        bundle = load(directory, threads=options.threads, pin=True)
        _run(bundle, options)
    except TvmFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _run(bundle: Bundle, options: argparse.Namespace) -> None:
    info = bundle.manifest
    if options.check:
        print(f"check passed: {check(bundle)}")
    path = options.input or bundle.directory / info.data["sample"]["input"]
    output = bundle(load_input(path, info.inputs[0], info.layout))
    first = output if isinstance(output, np.ndarray) else output[0]
    for index, probability, label in top_k(first, options.top, bundle.labels):
        print(f"{100 * probability:6.2f} %  {index:5d}  {label}")
    if options.runs > 0:
        print(f"{info.model}, {bundle.threads} thread(s), batch {info.inputs[0].shape[0]}, fp32:")
        print(f"  {bundle.time(options.runs)}")
