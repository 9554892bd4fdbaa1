"""Modelled gain of tuned over default schedules: ``python -m benchmarks.modelled_gains --help``.

For every network and Arm target the sum over its kernels, as often as the network runs them, from
the records of ``tvm-flow tune --runner modelled`` and ``benchmarks.modelled_transfer``. Committed
records hold no defaults: model both with the latter, into a new folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from tvm_flow import targets
from tvm_flow.api.networks import load_model, to_graph
from tvm_flow.backends import CPU
from tvm_flow.ir.tasks import Task
from tvm_flow.modelled.bench import ModelledBench
from tvm_flow.support.errors import UsageError
from tvm_flow.targets import Board
from tvm_flow.tuning.records.store import RecordStore

LABELS = (ModelledBench.label,)


class Gains:
    """Modelled seconds of kernels of ``board``, from ``store``."""

    def __init__(self, board: Board, store: RecordStore) -> None:
        self.board, self.store = board, store

    def default(self, task: Task) -> float:
        device = CPU.device(self.board)
        knobs = CPU.algorithm(task.workload).default(task.problem, device)
        found = [
            record.seconds
            for record in self.store.of(task.workload, 1)
            if record.ok and record.label in LABELS and record.knobs == knobs
        ]
        return found[-1] if found else self._missing(task)

    def best(self, task: Task) -> float:
        found = self.store.best(task.workload, 1, labels=LABELS)
        return found.seconds if found else self._missing(task)

    def _missing(self, task: Task) -> float:
        raise UsageError(
            f"No modelled record of {task.workload} for {self.board.name}",
            fix="python -m benchmarks.modelled_transfer",
        )


def network_seconds(tasks: Sequence[Task], seconds: Callable[[Task], float]) -> float:
    """Of alternatives for the same layers, the fastest counts."""
    layers: dict[str, float] = {}
    for task in tasks:
        spent = task.count * seconds(task)
        layers[task.problem.key] = min(spent, layers.get(task.problem.key, spent))
    return sum(layers.values())


def gains(model: str, boards: Iterable[Board], records: Path) -> list[dict[str, Any]]:
    """One row per board."""
    graph, rows = load_model(model), []
    for board in boards:
        every = CPU.tasks(CPU.optimise(to_graph(graph), board), CPU.device(board))
        tasks = [task for task in every if not task.parts]
        known = Gains(board, RecordStore(records / board.log_name))
        kernels = {task.workload.key: known.default(task) / known.best(task) for task in tasks}
        default, best = (network_seconds(tasks, of) for of in (known.default, known.best))
        rows.append(
            {
                "model": model, "target": board.name, "label": ModelledBench.label,
                "default_s": default, "best_s": best, "gain": default / best, "kernels": kernels,
            }
        )  # fmt: skip
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", required=True, help="separated by commas")
    parser.add_argument("--models", default="fasternet_t0,shufflenet_v2_x1_0")
    parser.add_argument("--records", type=Path, required=True, help="as for tvm-flow tune")
    parser.add_argument(
        "--out", type=Path, default=results.path_for("modelled-gains", machine="boards")
    )
    return parser.parse_args()


def main() -> None:
    given = _arguments()
    boards = [targets.load(name) for name in given.targets.split(",")]
    rows = [row for m in given.models.split(",") for row in gains(m, boards, given.records)]
    for row in rows:
        print(
            f"{row['model']:20} {row['target']:15} modelled {1e3 * row['default_s']:7.2f} ms > "
            f"{1e3 * row['best_s']:7.2f} ms: {row['gain']:.3f}x, best kernel "
            f"{max(row['kernels'].values()):.2f}x"
        )
    results.write_modelled("modelled-gains", given.out, rows=rows)


if __name__ == "__main__":
    results.in_words(main)
