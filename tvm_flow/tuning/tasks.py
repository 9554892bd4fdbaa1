"""What is tuned: one task per distinct workload of a network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from schedules.base import Cpu, Family, Workload
from schedules.registry import lookup
from targets import Board
from tvm_flow.errors import UsageError
from tvm_flow.tuning.channel import Message


@dataclass(frozen=True)
class Task:
    """One workload, how often the network runs it, and the PyTorch modules it computes.

    Tasks with the same ``group`` are ways to compute the same layers (direct, Winograd); the
    network uses the fastest.
    """

    workload: Workload
    count: int = 1
    modules: tuple[str, ...] = ()
    group: str = ""

    @property
    def layers(self) -> str:
        """What the task's layers are known by: its group, or itself if it has no alternative."""
        return self.group or self.workload.key


def merge(tasks: Iterable[Task]) -> list[Task]:
    """One task per workload in order of first appearance; counts and modules add up."""
    merged: dict[str, Task] = {}
    for task in tasks:
        key = task.workload.key
        known = merged.get(key, Task(task.workload, 0))
        count, modules = known.count + task.count, known.modules + task.modules
        merged[key] = Task(task.workload, count, modules, task.group)
    return list(merged.values())


def weight_bytes(tasks: Iterable[Task], board: Board, threads: int) -> int:
    """Bytes of all weights of a network, the first way of computing each layer taken."""
    cpu, total = cpu_of(board, threads), 0
    for task in {task.layers: task for task in reversed(list(tasks))}.values():
        arguments = family_of(task.workload, board).arguments(task.workload, cpu)
        total += task.count * sum(spec.bytes for spec in arguments if spec.role == "weight")
    return total


def cpu_of(board: Board, threads: int = 1) -> Cpu:
    """What schedules may know about ``board`` when run on ``threads`` threads."""
    fmas = board.cluster_of(board.cores[0]).fma_per_cycle
    return Cpu(
        board.lanes, board.vector_registers, board.l1_bytes, board.l2_bytes, threads, fmas,
        board.looks_up,
    )  # fmt: skip


def family_of(workload: Workload, board: Board) -> Family:
    """The operator family of a workload. Raises :class:`UsageError` if there is none."""
    try:
        return lookup(workload.op, str(board.tvm_target()["kind"]))
    except KeyError as error:
        raise UsageError(f"Cannot tune {workload}", why=str(error.args[0])) from error


def describe(workload: Workload, board: Board, cpu: Cpu) -> Message:
    """What every request to a worker says about the kernel in question."""
    return {
        "workload": workload.key,
        "cpu": asdict(cpu),
        "target": board.tvm_target(),
        "arch": board.arch,
        "glibc": board.glibc_floor,
        # Importing it in the worker registers the family there, wherever it is defined.
        "family_module": type(family_of(workload, board)).__module__,
    }
