"""Was a timing disturbed? Other load, steal, clock changes and throttling, from /proc and /sys."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# A window is disturbed when the process waited for its cores, or was robbed of them, for more than
# this share of the time; below it the effect is smaller than the spread of the medians.
MAX_WAIT_SHARE = 0.03
# Being woken up counts as waiting too, for well under a millisecond per thread.
_WAKING_S = 0.005
# /proc/stat counts in ticks of 10 ms: differences of a few ticks are rounding.
_ROUNDING_S = 3 * _TICK_S
MAX_CLOCK_SPREAD = 0.05


@dataclass(frozen=True)
class Snapshot:
    """Counters at one moment; times in seconds, summed over the watched cores or threads.

    ``waited`` (runnable but not running) is ``None`` where the kernel does not tell. ``others`` is
    what all other processes ran, on any core.
    """

    at: float
    busy: float
    stolen: float
    own: float
    waited: float | None
    others: float
    throttled: int
    clock_khz: int | None


class LoadProbe:
    """Watches ``cores`` while the process ``pid`` is timed on them."""

    def __init__(self, cores: Sequence[int], pid: int) -> None:
        self.cores, self.pid = tuple(cores), pid

    def snapshot(self) -> Snapshot:
        busy, stolen = core_times(self.cores)
        return Snapshot(
            at=time.monotonic(),
            busy=busy,
            stolen=stolen,
            own=_own_cpu_time(self.pid),
            waited=_waited(self.pid),
            others=_others_ran(self.pid),
            throttled=sum(_throttle_counts(self.cores)),
            clock_khz=_clock(self.cores),
        )

    def complaints(self, before: Snapshot, after: Snapshot) -> list[str]:
        """What disturbed the time between two snapshots; empty where nothing is known to."""
        wall = max(after.at - before.at, 1e-9)
        foreign = (after.busy - before.busy) - (after.own - before.own)
        found = []
        if before.waited is not None and after.waited is not None:
            # An engine with more threads than cores waits for itself: no fault of other load.
            others = max(after.others - before.others, foreign - _ROUNDING_S)
            waited = min(after.waited - before.waited, others)
            if waited > max(_WAKING_S, MAX_WAIT_SHARE * wall):
                found.append(f"other load on the cores ({100 * waited / wall:.0f} % waiting)")
        elif foreign > max(_ROUNDING_S, MAX_WAIT_SHARE * wall * len(self.cores)):
            found.append(f"other load on the cores ({100 * foreign / wall:.0f} % of one core)")
        stolen = after.stolen - before.stolen
        if stolen > max(_ROUNDING_S, MAX_WAIT_SHARE * wall * len(self.cores)):
            found.append(f"the hypervisor took {100 * stolen / wall:.0f} % of one core")
        if after.throttled > before.throttled:
            found.append("thermal throttling")
        return found


def clock_complaint(clocks_khz: Iterable[int | None]) -> str | None:
    """A sentence where the clock differed between windows; unreadable clocks say nothing."""
    known = [clock for clock in clocks_khz if clock]
    if known and min(known) < (1 - MAX_CLOCK_SPREAD) * max(known):
        return f"the clock changed between {min(known) // 1000} and {max(known) // 1000} MHz"
    return None


def core_times(cores: Iterable[int]) -> tuple[float, float]:
    """(busy, stolen) seconds since boot, summed over ``cores``. Fields: proc(5), /proc/stat."""
    wanted = {f"cpu{core}" for core in cores}
    busy = stolen = 0
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *fields = line.split()
        if name in wanted:
            user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, fields)
            busy += user + nice + system + irq + softirq
            stolen += steal
    return busy * _TICK_S, stolen * _TICK_S


def _own_cpu_time(pid: int) -> float:
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S  # utime, stime


def _waited(pid: int) -> float | None:
    """Seconds the threads of ``pid`` were runnable but had no core (second field, nanoseconds)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError):
            return None
    return total * 1e-9


def _others_ran(pid: int) -> float:
    """Seconds that the threads of all other processes have run (first field, nanoseconds)."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*/task/*/schedstat"):
        if entry.parts[2] == str(pid):
            continue
        with suppress(OSError):  # it has ended
            total += int(entry.read_text(encoding="ascii").split()[0])
    return total * 1e-9


def _throttle_counts(cores: Iterable[int]) -> Iterable[int]:
    for core in cores:
        entry = Path(f"/sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count")
        yield _number(entry) or 0


def _clock(cores: Iterable[int]) -> int | None:
    """The lowest current clock of the cores in kHz, ``None`` where it cannot be read."""
    entries = (Path(f"/sys/devices/system/cpu/cpu{c}/cpufreq/scaling_cur_freq") for c in cores)
    return min((clock for clock in map(_number, entries) if clock), default=None)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
