"""What this machine is: architecture and cores."""

from __future__ import annotations

import os
import platform


def arch() -> str:
    """Architecture of this machine, as ``uname -m`` has it on Linux."""
    return platform.machine()


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
