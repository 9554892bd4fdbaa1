"""No layer slower than PyTorch: ``python -m benchmarks.cliff --help``.

Compiles the layers of :mod:`benchmarks.layers` one by one, without records and as networks of their
own (NCHW in and out), and times them in turns with the best of eager's variants: plain, and
channels_last (which gets its input so). A ratio is eager's time over tvm-flow's; below 1 is the
cliff. Ends with status 1 where there is one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm_flow
from benchmarks import results
from benchmarks.layers import KINDS, Layer
from tvm_flow.models.stats import count_macs
from tvm_flow.report.compare import CompareResult

FEWEST_MACS = 1_000_000


@dataclass(frozen=True)
class Row:
    """A layer on so many threads."""

    kind: str
    layer: Layer
    macs: int
    result: CompareResult

    def __str__(self) -> str:
        r = self.result
        eager, last = (1e3 * t.median_ms if t else 0.0 for t in (r.eager, r.eager_channels_last))
        remark = "" if r.valid else "  disturbed"
        return (
            f"{self.kind:14} {self.layer.name:34} {self.macs / 1e6:7.1f} M {r.threads} "
            f"{eager:9.0f} {last:9.0f} {1e3 * r.bundle.median_ms:9.0f} "
            f"{r.speedup_best_eager:6.2f}{remark}"
        )

    def to_json(self) -> dict[str, Any]:
        shown = {"kind": self.kind, "layer": self.layer.name, "macs": self.macs}
        return {**shown, **self.result.to_json()}


def measure(
    kind: str, layer: Layer, threads: Sequence[int], rounds: int, seconds: float
) -> list[Row]:
    """Compile and time one layer. Raises :class:`TvmFlowError`."""
    module = layer.module()
    macs = count_macs(module, layer.shape)
    with tempfile.TemporaryDirectory(prefix="tvm-flow-cliff-") as folder:
        bundle = Path(folder) / "bundle"
        tvm_flow.compile(module, output=bundle, runner=False)
        found = tvm_flow.compare(
            module, bundle=bundle, threads=threads, rounds=rounds, round_s=seconds
        )
    return [Row(kind, layer, macs, result) for result in found]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--threads", default="1", help="for example 1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each in a round")
    parser.add_argument("--output", type=Path, help="a file for the results, JSON")
    arguments = parser.parse_args()
    arguments.kinds = arguments.kinds.split(",")
    if unknown := set(arguments.kinds) - KINDS.keys():
        parser.error(f"no kind {', '.join(sorted(unknown))}: there are {', '.join(KINDS)}")
    arguments.threads = [int(count) for count in arguments.threads.split(",")]
    return arguments


def main() -> None:
    arguments, rows = _arguments(), list[Row]()
    print(f"{'kind':14} {'layer':34} {'MACs':>9} t {'eager':>9} {'ch. last':>9} {'ours':>9}  ratio")
    for kind in arguments.kinds:
        for layer in KINDS[kind]():
            timing = (arguments.threads, arguments.rounds, arguments.seconds)
            for row in measure(kind, layer, *timing):
                print(row, flush=True)
                rows.append(row)
    if arguments.output:
        document = {
            "schema": results.SCHEMA, "kind": "cliff", "commit": results.commit(),
            "machine": results.machine(), "runs": [row.to_json() for row in rows],
        }  # fmt: skip
        results.write(document, arguments.output)
    below = [row for row in rows if row.result.speedup_best_eager < 1]
    print(f"{len(rows)} layers, {len(below)} below 1 (times in us)")
    sys.exit(1 if below else 0)


if __name__ == "__main__":
    results.in_words(main)
