"""What a board is: CPU clusters, caches, memory and (on a Jetson) the GPU, as typed data.

Nothing here knows TVM: :meth:`Board.tvm_target` gives the plain dict TVM's ``Target`` takes.
Peaks are **theoretical** (clock × lanes × FMA units), never measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Arch = Literal["x86_64", "aarch64"]
NATIVE = "native"
MAX_THREADS_PER_BLOCK = 1024  # of every CUDA GPU since compute capability 2.0
WARP_SIZE = 32


class TargetFileError(ValueError):
    """A board is unknown or its file is invalid; one line: what, why, fix."""

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        line = what + (f": {why}" if why else "") + (f". Fix: {fix}" if fix else "")
        super().__init__(" ".join(line.split()))


@dataclass(frozen=True)
class Cluster:
    """Identical cores.

    ``cores``: ids as the operating system numbers them. ``max_mhz``: 0 where unknown (native
    only). ``l2_kib``: size of one L2; ``l2_shared_by``: cores that share it. ``fma_per_cycle``:
    full-width vector FMA instructions one core issues per cycle. ``features``: names as LLVM
    spells them.
    """

    name: str
    cores: tuple[int, ...]
    mcpu: str
    max_mhz: int
    l1d_kib: int
    l2_kib: int
    l2_shared_by: int
    vector_bits: int
    vector_registers: int
    fma_per_cycle: int
    features: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.cores)

    @property
    def lanes(self) -> int:
        """fp32 lanes of one vector register."""
        return self.vector_bits // 32

    @property
    def peak_gflops(self) -> float:
        """Theoretical fp32 GFLOP/s of one core (1 FMA = 2 FLOPs); 0 where the clock is unknown."""
        return 2 * self.lanes * self.fma_per_cycle * self.max_mhz / 1000


@dataclass(frozen=True)
class Gpu:
    """A CUDA GPU. Sizes in KiB, ``dram_gbps`` in GB/s (shared with the CPU on a Jetson)."""

    name: str
    sm: int
    multiprocessors: int
    cuda_cores: int
    max_mhz: int
    shared_kib_per_block: int
    shared_kib_per_sm: int
    registers_per_block: int
    registers_per_sm: int
    l2_kib: int
    dram_gbps: float

    @property
    def peak_gflops(self) -> float:
        """Theoretical fp32 GFLOP/s: every CUDA core one FMA (2 FLOPs) per cycle."""
        return 2 * self.cuda_cores * self.max_mhz / 1000

    def tvm_target(self) -> dict[str, object]:
        """The dict for TVM's ``Target``, without host."""
        return {
            "kind": "cuda",
            "arch": f"sm_{self.sm}",
            "max_shared_memory_per_block": self.shared_kib_per_block * 1024,
            "max_threads_per_block": MAX_THREADS_PER_BLOCK,
            "thread_warp_size": WARP_SIZE,
            "registers_per_block": self.registers_per_block,
        }


@dataclass(frozen=True)
class Board:
    """One target machine.

    ``cores``: ids of the cores to run on, in the order threads take them; ``threads``: worker
    threads (at most one per core). ``dram_gbps``: theoretical bandwidth in GB/s, 0 where unknown
    (native only). ``glibc_floor``: the oldest C library a bundle must load with. ``n_div``: the
    default PConv divider. ``alignment``: bytes at which TVM aligns tensors. ``log_class``: folder
    of tuning records where it is not the name (native: per CPU class). ``sources``: where the
    numbers come from, in words.
    """

    name: str
    title: str
    soc: str
    arch: Arch
    mtriple: str
    mcpu: str
    mattr: tuple[str, ...]
    clusters: tuple[Cluster, ...]
    cores: tuple[int, ...]
    threads: int
    l3_kib: int
    dram_gbps: float
    ram_gib: float
    glibc_floor: str
    sources: tuple[str, ...]
    gpu: Gpu | None = None
    n_div: int = 4
    alignment: int = 64
    log_class: str = ""

    def cluster_of(self, core: int) -> Cluster:
        """The cluster of a core id. Raises ``KeyError`` for a core the board does not have."""
        for cluster in self.clusters:
            if core in cluster.cores:
                return cluster
        raise KeyError(f"{self.name} has no core {core}")

    @property
    def used_clusters(self) -> tuple[Cluster, ...]:
        """Clusters that own at least one of :attr:`cores`, in file order."""
        return tuple(c for c in self.clusters if set(c.cores) & set(self.cores))

    @property
    def lanes(self) -> int:
        """fp32 lanes of one vector register (the narrowest core in use)."""
        return min(c.lanes for c in self.used_clusters)

    @property
    def vector_registers(self) -> int:
        return min(c.vector_registers for c in self.used_clusters)

    @property
    def looks_up(self) -> bool:
        """Whether LLVM may pick every fp32 lane of a vector from any of two registers at once:
        x86's vpermi2ps on whole vectors."""
        return self.lanes == 16 and "+avx512f" in self.mattr

    @property
    def l1_bytes(self) -> int:
        """L1 data cache of one core, in bytes."""
        return 1024 * min(c.l1d_kib for c in self.used_clusters)

    @property
    def l2_bytes(self) -> int:
        """One core's share of its L2, in bytes."""
        return 1024 * min(c.l2_kib // c.l2_shared_by for c in self.used_clusters)

    def peak_gflops(self, threads: int = 1) -> float:
        """Theoretical fp32 GFLOP/s of the first ``threads`` cores; 0 where the clock is unknown."""
        if not 1 <= threads <= len(self.cores):
            raise ValueError(f"{self.name} offers 1 to {len(self.cores)} threads, not {threads}")
        return sum(self.cluster_of(core).peak_gflops for core in self.cores[:threads])

    @property
    def is_native(self) -> bool:
        return self.name == NATIVE

    @property
    def log_name(self) -> str:
        """Folder of this board's tuning records under ``tuning_logs/``."""
        return self.log_class or self.name

    def record_folder(self, device: str = "cpu") -> str:
        """The folder of a device's tuning records below ``tuning_logs``: the board's own for its
        CPU, one below that for another device."""
        return self.log_name if device == "cpu" else f"{self.log_name}/{device}"

    def tvm_target(self) -> dict[str, object]:
        """The CPU side as the dict TVM's ``Target`` takes."""
        return {
            "kind": "llvm",
            "mtriple": self.mtriple,
            "mcpu": self.mcpu,
            "mattr": list(self.mattr),
            "num-cores": self.threads,
        }

    def tvm_gpu_target(self) -> dict[str, object]:
        """The GPU side, with the CPU as host. Raises :class:`TargetFileError` without a GPU."""
        if self.gpu is None:
            raise TargetFileError(
                f"{self.name} has no GPU that TVM can generate code for",
                why="its file has no [gpu] table",
                fix="build for the CPU, or choose a jetson board",
            )
        return {**self.gpu.tvm_target(), "host": self.tvm_target()}
