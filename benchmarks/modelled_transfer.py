"""What was found for one Arm core, for another: ``python -m benchmarks.modelled_transfer --help``.

The best modelled schedules of other records, of other targets or made with older code, are modelled
for this target, beside its default and its own best, and recorded as a closing comparison. No time
is carried over: cores, caches and clocks differ.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import results
from tvm_flow import targets
from tvm_flow.backends.cpu import CPU, cpu_of
from tvm_flow.modelled.bench import EMULATION_TIMEOUT_S, ModelledBench
from tvm_flow.modelled.cores import CoreModel
from tvm_flow.modelled.protocol import ModelSetup
from tvm_flow.modelled.tools import find_tools
from tvm_flow.modelled.worker import ModelDesk
from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.record import Record
from tvm_flow.tuning.records.store import RecordStore
from tvm_flow.tuning.worker import kernel_build
from tvm_flow.tuning.worker.protocol import (
    BuildRequest,
    Candidate,
    KernelRequest,
    MeasureRequest,
    Outcome,
    TrialSettings,
)

LABELS = (ModelledBench.label,)


class Transfer:
    """Models candidates for ``board``; files go to ``folder``."""

    def __init__(self, board: Board, folder: Path) -> None:
        self.board, self.folder, self.cpu = board, folder, cpu_of(board)
        self.session = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.settings = TrialSettings.of(TuneOptions(), folder, seed=0)
        tools = find_tools(board.arch)
        self.desk = ModelDesk(ModelSetup(CoreModel.of(board), tools, EMULATION_TIMEOUT_S))

    def compare(self, workload: Workload, candidates: Iterable[Knobs]) -> list[Record]:
        """The candidates that work, the fastest first."""
        answers = [(knobs, self._model(workload, knobs)) for knobs in candidates]
        records = [
            Record.of(
                workload, knobs, 1, label=ModelledBench.label, stage="final",
                session=self.session, status=answer.status, median_s=answer.median_s,
                p10_s=answer.p10_s, p90_s=answer.p90_s,
            )
            for knobs, answer in answers
            if answer.ok
        ]  # fmt: skip
        return sorted(records, key=lambda record: record.seconds)

    def _model(self, workload: Workload, knobs: Knobs) -> Outcome:
        algorithm = CPU.algorithm(workload)
        kernel = KernelRequest.of(workload, algorithm, self.board, self.cpu)
        library = self.folder / "kernel.so"
        built = kernel_build.build(BuildRequest(kernel, knobs, library))
        if not built.ok:
            return Outcome(built.status, built.cause)
        candidate = Candidate(library, built.shapes)
        return self.desk.measure(MeasureRequest(kernel, self.settings, candidate, math.inf))

    def candidates(
        self, workload: Workload, own: RecordStore, others: Sequence[RecordStore]
    ) -> list[Knobs]:
        """Different schedules to compare: the default, this target's best, those of others."""
        algorithm, problem = CPU.algorithm(workload), workload.problem
        space = algorithm.space(problem, self.cpu)
        best = [s.best(workload, 1, space=space, labels=LABELS) for s in (own, *others)]
        found = [algorithm.default(problem, self.cpu)]
        found += [r.knobs for r in best if r is not None]
        return [knobs for n, knobs in enumerate(found) if knobs not in found[:n]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", required=True, help="folders of records, separated by commas")
    parser.add_argument("--target", required=True)
    parser.add_argument("--records", type=Path, required=True, help="as for tvm-flow tune")
    return parser.parse_args()


def main() -> None:
    given = _arguments()
    board = targets.load(given.target)
    others = [RecordStore(folder) for folder in given.sources.split(",")]
    own = RecordStore(given.records / board.log_name)
    keys = dict.fromkeys(r.workload for s in (own, *others) for r in s.records if r.ok)
    with tempfile.TemporaryDirectory(prefix="tvm-flow-transfer-") as name:
        transfer = Transfer(board, Path(name))
        with own.writing(cpu_model=board.soc):
            for key in keys:
                workload = Workload.parse(key)
                found = transfer.candidates(workload, own, others)
                _record(own, transfer.compare(workload, found), default=found[0])


def _record(store: RecordStore, records: Sequence[Record], default: Knobs) -> None:
    for record in records:
        store.add(record)
    for record in records:
        if record.knobs == default:
            gain = record.seconds / records[0].seconds
            print(f"modelled {gain:.3f}x the default's speed: {record.workload}", flush=True)


if __name__ == "__main__":
    results.in_words(main)
