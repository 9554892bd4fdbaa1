"""The kernels behind the committed records: which there are, and how each one's TIR is made.

Nothing here depends on the machine it runs on: a native CPU class is a fixed board of this file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tests.schedules.cases import CASES, generator_of
from tests.schedules.tir_text import text_of
from tvm_flow import targets
from tvm_flow.backends.cpu import cpu_of
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.targets import Board, Cluster
from tvm_flow.tuning.records.files import ZOO, read_log
from tvm_flow.tuning.records.record import Record

LOGS = Path(__file__).parents[2] / "tuning_logs"
#: Thread counts that the kernels with default knobs are generated for.
DEFAULT_THREADS = (1, 2)


def _native(log: str, mcpu: str, bits: int, registers: int, fmas: int, l1d: int) -> Board:
    """A machine of a native CPU class, with the caches of a typical one (KiB; 1 MiB of L2)."""
    cluster = Cluster(
        name="cluster0", cores=(0, 1), mcpu=mcpu, max_mhz=0, l1d_kib=l1d, l2_kib=1024,
        l2_shared_by=1, vector_bits=bits, vector_registers=registers, fma_per_cycle=fmas,
    )  # fmt: skip
    mattr = ("+avx2", "+fma", *(["+avx512f"] if bits == 512 else []))
    return replace(
        targets.load("rk3399"), name=targets.NATIVE, title=log, soc=mcpu, arch="x86_64",
        mtriple="x86_64-linux-gnu", mcpu=mcpu, mattr=mattr, clusters=(cluster,), cores=(0, 1),
        threads=2, log_class=log,
    )  # fmt: skip


NATIVE = {
    board.log_name: board
    for board in (
        _native("native-x86_64-avx2", "haswell", 256, 16, fmas=2, l1d=32),
        _native("native-x86_64-avx512", "znver4", 512, 32, fmas=1, l1d=32),
        _native("native-x86_64-avx512-2fma", "znver5", 512, 32, fmas=2, l1d=48),
    )
}

#: A choice of knobs, sorted by name.
Chosen = tuple[tuple[str, int], ...]


def chosen(knobs: Mapping[str, int]) -> Chosen:
    return tuple(sorted(knobs.items()))


@dataclass(frozen=True)
class Kernel:
    """One kernel of a folder of records; without ``knobs`` the one with the default ones."""

    log: str
    workload: str
    threads: int
    knobs: Chosen | None = None

    @classmethod
    def of(cls, log: str, record: Record) -> Kernel:
        return cls(log, record.workload, record.threads, chosen(record.knobs))

    @property
    def key(self) -> str:
        """What it is called in the file of hashes; unique within its folder."""
        kind = "default" if self.knobs is None else "record"
        knobs = "".join(f" {name}={value}" for name, value in self.knobs or ())
        return f"{kind} {self.workload} threads={self.threads}{knobs}"

    @property
    def stratum(self) -> tuple[str, int | None]:
        """What generates it and, of a tuned kernel, threads."""
        return generator_of(
            Workload.parse(self.workload)
        ), None if self.knobs is None else self.threads

    @property
    def recipe(self) -> tuple[Workload, Cpu, Chosen]:
        """All that its TIR follows from: boards with equal cores share their kernels."""
        workload = Workload.parse(self.workload)
        cpu = cpu_of(board_of(self.log), self.threads)
        if self.knobs is not None:
            return workload, cpu, self.knobs
        default = registry.algorithm(workload).default(workload.problem, cpu)
        return workload, cpu, chosen(default)

    def text(self) -> str:
        """The TIR, generated as the tuner and the compiler do, without names."""
        workload, cpu, knobs = self.recipe
        algorithm = registry.algorithm(workload)
        return text_of(algorithm.build(workload.problem, cpu, dict(knobs), "kernel"))


@cache
def board_of(log: str) -> Board:
    return NATIVE[log] if log in NATIVE else targets.load(log)


def folders() -> list[str]:
    return sorted(path.parent.name for path in LOGS.glob(f"*/{ZOO}"))


@cache
def _records(log: str) -> list[Record]:
    """The committed records that count; a user's own are none of the repository's business."""
    return [record for record in read_log(LOGS / log / ZOO, log).records if record.ok]


@cache
def kernels(log: str) -> dict[str, Kernel]:
    """By key, in order: a kernel per record, and the default ones of every workload that occurs.

    Generators of which no record exists anywhere take part with the shapes of the numeric tests.
    """
    found = [Kernel.of(log, record) for record in _records(log)]
    workloads = {kernel.workload for kernel in found} | set(_shapes_without_records())
    found += [Kernel(log, key, threads) for key in workloads for threads in DEFAULT_THREADS]
    return {kernel.key: kernel for kernel in sorted(found, key=lambda kernel: kernel.key)}


@cache
def _shapes_without_records() -> list[str]:
    recorded = {
        generator_of(Workload.parse(record.workload))
        for log in folders()
        for record in _records(log)
    }
    return [case.key for name, cases in CASES.items() if name not in recorded for case in cases]


def part(log: str, every: int, every_default: int) -> Iterator[Kernel]:
    """One in so many of each stratum, at least one: of the records' kernels, and of those with
    default knobs."""
    seen: Counter[tuple[str, int | None]] = Counter()
    for kernel in kernels(log).values():
        if seen[kernel.stratum] % (every_default if kernel.knobs is None else every) == 0:
            yield kernel
        seen[kernel.stratum] += 1
