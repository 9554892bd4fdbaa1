"""This machine as a :class:`~tvm_flow.targets.board.Board`, from ``/proc`` and ``/sys``.

``TVM_FLOW_NATIVE=avx2`` makes an AVX-512 machine behave as an AVX2 one (8 lanes, 16 registers,
mcpu haswell): that is how AVX2 tuning records are made and tested where only AVX-512 is at hand.
Unset or ``auto`` means: what the CPU has.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tvm_flow.targets.board import NATIVE, Arch, Board, Cluster, TargetFileError
from tvm_flow.targets.cpu_models import (
    AARCH64_FEATURES,
    AMD,
    ARM,
    AVX2_FLAGS,
    AVX512_FLAGS,
    INTEL,
    X86_FEATURES,
    CpuModel,
)

VARIABLE = "TVM_FLOW_NATIVE"
KIB = {"K": 1, "M": 1024}
# Where a virtual machine shows no caches: the smallest of any CPU of the class.
FALLBACK_L1_KIB, FALLBACK_L2_KIB = 32, 256


@dataclass(frozen=True)
class VectorClass:
    """What decides which tuning records fit: the vector unit, not the CPU's name."""

    name: str
    bits: int
    registers: int
    fallback: CpuModel


AVX512 = VectorClass("avx512", 512, 32, CpuModel("x86-64-v4", 1))
AVX2 = VectorClass("avx2", 256, 16, CpuModel("x86-64-v3", 2))
SSE = VectorClass("sse", 128, 16, CpuModel("x86-64", 1))
NEON = VectorClass("neon", 128, 32, CpuModel("generic", 1))
HASWELL = CpuModel("haswell", 2)  # the AVX2 class, forced


@dataclass(frozen=True)
class Core:
    """One logical CPU. Cache sizes in KiB; ``l2_sharers`` ids include the CPU itself."""

    id: int
    model: CpuModel | None
    mhz: int
    l1d: int
    l2: int
    l2_sharers: frozenset[int]
    l3: int
    siblings: frozenset[int]


class Machine:
    """Reads the two pseudo file systems below ``root`` (another root in tests)."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.cpus = root / "sys/devices/system/cpu"
        blocks = _text(root / "proc/cpuinfo").split("\n\n")
        self.info = [
            {k.strip(): v.strip() for k, v in re.findall(r"^([^:\n]+):(.*)$", block, re.M)}
            for block in blocks
        ]
        self.info = [entry for entry in self.info if "processor" in entry]
        memory = re.search(r"MemTotal:\s*(\d+)", _text(root / "proc/meminfo"))
        self.ram_gib = round(int(memory[1]) / 2**20, 1) if memory else 0.0

    def flags(self) -> frozenset[str]:
        """Flags every core has."""
        sets = [set((e.get("flags") or e.get("Features") or "").split()) for e in self.info]
        return frozenset(set.intersection(*sets)) if sets else frozenset()

    def core(self, entry: dict[str, str]) -> Core:
        number = int(entry["processor"])
        folder = self.cpus / f"cpu{number}"
        levels: dict[int, tuple[int, frozenset[int]]] = {}
        for index in sorted(folder.glob("cache/index*")):
            if _text(index / "type") in ("Data", "Unified"):
                sharers = parse_cpu_list(_text(index / "shared_cpu_list")) or {number}
                levels[_int(index / "level")] = (_kib(index / "size"), frozenset(sharers))
        l1, _ = levels.get(1, (0, frozenset()))
        l2, sharers2 = levels.get(2, (0, frozenset({number})))
        cpufreq = _int(folder / "cpufreq/cpuinfo_max_freq") // 1000
        return Core(
            id=number,
            model=identify(entry),
            mhz=cpufreq or round(float(entry.get("cpu MHz") or 0)),
            l1d=l1 or FALLBACK_L1_KIB,
            l2=l2 or FALLBACK_L2_KIB,
            l2_sharers=sharers2 or frozenset({number}),
            l3=levels.get(3, (0, frozenset()))[0],
            siblings=frozenset(
                parse_cpu_list(_text(folder / "topology/thread_siblings_list")) or {number}
            ),
        )

    @property
    def clock_source(self) -> str:
        if any(self.cpus.glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq")):
            return "clock: cpufreq maximum"
        if any("cpu MHz" in entry for entry in self.info):
            return "clock: 'cpu MHz' of /proc/cpuinfo, no cpufreq here; the true peak may be higher"
        return "clock: unknown, so no theoretical peak"


def detect(machine: Machine | None = None, affinity: Iterable[int] | None = None) -> Board:
    """This machine. Uses one thread per physical core of its fastest cluster, within the affinity.

    Raises :class:`TargetFileError` on an architecture TVM kernels are not generated for, or a
    value of ``TVM_FLOW_NATIVE`` the CPU cannot honour.
    """
    machine = machine or Machine()
    arch = platform.machine()
    if arch not in ("x86_64", "aarch64"):
        raise TargetFileError(
            f"This machine's architecture {arch!r} is not supported",
            why="kernels are generated for x86_64 and aarch64",
            fix="name a board, for example --target rk3399",
        )
    flags = machine.flags()
    vector, forced = choose_class(arch, flags)
    cores = [machine.core(entry) for entry in machine.info]
    mattr = features(arch, flags, vector)
    clusters = _clusters(cores, vector, forced, mattr)
    allowed = set(os.sched_getaffinity(0) if affinity is None else affinity)
    reachable = [c for c in clusters if allowed & set(c.cores)]
    if not reachable:
        raise TargetFileError("No CPU core found", why="/proc/cpuinfo lists none of this process")
    fastest = max(reachable, key=lambda c: c.peak_gflops)
    by_id = {core.id: core for core in cores}
    use = tuple(i for i in fastest.cores if i in allowed and _first_sibling(by_id[i], allowed))
    return Board(
        name=NATIVE,
        title=f"this machine ({arch}, {vector.name})",
        soc=machine.info[0].get("model name", fastest.mcpu),
        arch=cast(Arch, arch),
        mtriple=f"{arch}-linux-gnu",
        mcpu=fastest.mcpu,
        mattr=mattr,
        clusters=clusters,
        cores=use,
        threads=len(use),
        l3_kib=max(core.l3 for core in cores),
        dram_gbps=0.0,
        ram_gib=machine.ram_gib,
        glibc_floor=_glibc(),
        sources=("caches: /sys/devices/system/cpu", machine.clock_source, "bandwidth: unknown"),
        log_class=log_class(arch, vector, fastest),
    )


def log_class(arch: str, vector: VectorClass, cluster: Cluster) -> str:
    """Folder of the tuning records. A core that issues two 512-bit FMAs a cycle wants other
    register tiles than one that issues a single one: its loads become scarce."""
    doubled = vector is AVX512 and cluster.fma_per_cycle > 1
    return f"{NATIVE}-{arch}-{vector.name}{'-2fma' if doubled else ''}"


def choose_class(arch: str, flags: frozenset[str]) -> tuple[VectorClass, bool]:
    """The vector class, and whether ``TVM_FLOW_NATIVE`` forced it below what the CPU has."""
    wish = os.environ.get(VARIABLE, "auto") or "auto"
    has_avx2 = arch == "x86_64" and flags >= AVX2_FLAGS
    if wish == "avx2" and has_avx2:
        return AVX2, flags >= AVX512_FLAGS
    if wish != "auto":
        why = "the CPU has no AVX2" if wish == "avx2" else "only 'avx2' and 'auto' are known"
        raise TargetFileError(f"{VARIABLE}={wish} is impossible", why=why, fix=f"unset {VARIABLE}")
    if arch == "aarch64":
        return NEON, False
    if has_avx2 and flags >= AVX512_FLAGS:
        return AVX512, False
    return (AVX2 if has_avx2 else SSE), False


def features(arch: str, flags: frozenset[str], vector: VectorClass) -> tuple[str, ...]:
    """Every feature LLVM may use, spelled out: + where the CPU has it, - where not."""
    if arch == "aarch64":
        return tuple(("+" if f in flags else "-") + name for f, name in AARCH64_FEATURES.items())
    if vector is AVX2:
        flags = frozenset(f for f in flags if not f.startswith(("avx512", "amx")))
    mattr = tuple(("+" if f in flags else "-") + name for f, name in X86_FEATURES.items())
    return (*mattr, "-prefer-256-bit") if vector is AVX512 else mattr


def identify(entry: dict[str, str]) -> CpuModel | None:
    """The model of one ``/proc/cpuinfo`` entry, ``None`` where it is not in the tables."""
    if "CPU part" in entry:
        return ARM.get((int(entry["CPU implementer"], 16), int(entry["CPU part"], 16)))
    family, model = int(entry.get("cpu family", -1)), int(entry.get("model", -1))
    if entry.get("vendor_id") == "GenuineIntel" and family == 6:
        return INTEL.get(model)
    if entry.get("vendor_id") == "AuthenticAMD":
        hits = (found for f, low, high, found in AMD if f == family and low <= model <= high)
        return next(hits, None)
    return None


def parse_cpu_list(text: str) -> set[int]:
    """``"0-2,5"`` -> {0, 1, 2, 5}."""
    cores: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        cores.update(range(int(low), int(high or low) + 1))
    return cores


def _clusters(
    cores: list[Core], vector: VectorClass, forced: bool, mattr: tuple[str, ...]
) -> tuple[Cluster, ...]:
    """Cores grouped by model and caches: equal ones behave equally."""
    groups: dict[tuple[CpuModel | None, int, int], list[Core]] = {}
    for core in cores:
        groups.setdefault((core.model, core.l1d, core.l2), []).append(core)
    result = []
    for number, ((found, l1d, l2), members) in enumerate(groups.items()):
        model = HASWELL if forced else found or vector.fallback
        result.append(
            Cluster(
                name=f"cluster{number}",
                cores=tuple(core.id for core in members),
                mcpu=model.mcpu,
                max_mhz=max(core.mhz for core in members),
                l1d_kib=l1d,
                l2_kib=l2,
                l2_shared_by=_physical_sharers(members),
                vector_bits=vector.bits,
                vector_registers=vector.registers,
                fma_per_cycle=model.fma256 if vector is AVX2 else model.fma,
                features=tuple(a[1:] for a in mattr if a.startswith("+")),
            )
        )
    return tuple(result)


def _physical_sharers(members: list[Core]) -> int:
    """How many physical cores share one L2: hyper-threads of one core do not split it."""
    return max(1, len(members[0].l2_sharers) // len(members[0].siblings))


def _first_sibling(core: Core, allowed: set[int]) -> bool:
    return core.id == min(core.siblings & allowed, default=core.id)


def _glibc() -> str:
    version = platform.libc_ver()[1]
    return version if re.fullmatch(r"2\.\d{1,2}", version) else "2.28"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _int(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _kib(path: Path) -> int:
    match = re.fullmatch(r"(\d+)([KM]?)", _text(path))
    return int(match[1]) * KIB.get(match[2], 1) if match else 0
