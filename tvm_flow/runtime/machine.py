"""What this machine is, in the terms a bundle needs: architecture, CPU features, cores."""

from __future__ import annotations

import ctypes
import os
import platform

# LLVM's name of a feature that changes which instructions generated code may use -> its name in
# /proc/cpuinfo on x86, or (auxv entry, bit) on AArch64 (Linux: arch/arm64 uapi/asm/hwcap.h).
X86_FLAGS = {
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "bmi2": "bmi2",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
}
_HWCAP, _HWCAP2 = 16, 26
ARM_HWCAPS = {
    "neon": (_HWCAP, 1),
    "lse": (_HWCAP, 8),
    "fullfp16": (_HWCAP, 10),
    "dotprod": (_HWCAP, 20),
    "sve": (_HWCAP, 22),
    "sve2": (_HWCAP2, 1),
    "i8mm": (_HWCAP2, 13),
    "bf16": (_HWCAP2, 14),
}
CHECKED_FEATURES = frozenset(X86_FLAGS) | frozenset(ARM_HWCAPS)


def arch() -> str:
    """Architecture of this machine, as ``uname -m`` has it on Linux."""
    return platform.machine()


def cpu_features() -> frozenset[str]:
    """The members of :data:`CHECKED_FEATURES` this machine's cores have."""
    if arch() == "aarch64":
        # The auxiliary vector is right under user-mode emulation too; /proc/cpuinfo is the host's.
        getauxval = ctypes.CDLL(None).getauxval
        getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
        return frozenset(
            name for name, (entry, bit) in ARM_HWCAPS.items() if getauxval(entry) >> bit & 1
        )
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return frozenset(name for name, flag in X86_FLAGS.items() if flag in flags)


def max_clock(cpu: int) -> int:
    """Highest clock of a CPU in kHz; 0 where the system does not tell (virtual machines)."""
    try:
        entry = f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"
        with open(entry, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def usable_cores() -> list[int]:
    """CPUs this process may run on, those with the highest maximum clock first.

    On big.LITTLE the big cores thus come first, whatever their numbers.
    """
    return sorted(os.sched_getaffinity(0), key=lambda cpu: (-max_clock(cpu), cpu))
