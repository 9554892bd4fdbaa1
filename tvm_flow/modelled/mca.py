"""Cycles of a recorded kernel, from LLVM's scheduling model of a core (llvm-mca).

Each distinct piece of code is simulated once. A long loop is simulated for a few iterations within
the code around it, plus the steady state for the iterations left: so the loop's filling and
draining, and what the core overlaps with it, are in the figure.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tvm_flow.modelled.trace import Segment, Trace
from tvm_flow.support.errors import TuningError

#: Iterations of a loop that are simulated together with the code around it.
_WITHIN = 3
#: Instructions over which the steady state of a loop is taken, and those before it.
_STEADY, _WARM = 256, 128
#: Instructions from which a piece of code is so long that its ends do not matter.
_LONG = 600
#: Share of all instructions that need not be simulated: what runs once at the start.
_NEGLIGIBLE = 0.01
_TIMEOUT_S = 60
#: Printed on a line of their own, before the instruction they belong to.
_PREFIXES = frozenset({"lock", "rep", "repne", "data16", "notrack"})
#: AArch64's atomic instructions, with which the C library locks: LLVM 19's model of Neoverse N1 has
#: no times for them.
_ATOMIC = re.compile(r"(cas|swp|ld(add|clr|eor|set|smax|smin|umax|umin))[abhlp]*\s")
_UNKNOWN = re.compile(r"^<stdin>:(\d+):\d+: warning: invalid", re.MULTILINE)
_REGION = re.compile(r"^r(\d+)$")


@dataclass(frozen=True)
class Analyser:
    """llvm-mc and llvm-mca for one core; ``triple`` and ``cpu`` in LLVM's spelling."""

    disassembler: str
    simulator: str
    triple: str
    cpu: str
    known: dict[str, float] = field(default_factory=dict)  # cycles by text of code

    def disassemble(self, codes: Sequence[str]) -> list[str]:
        """Hexadecimal machine code -> assembly, one line each.

        What LLVM does not know (instructions of the C library's own) counts as a ``nop``.
        """
        found, unknown = self._decode(codes)
        if unknown:  # llvm-mc may have printed a part of such an instruction
            found, _ = self._decode([c for n, c in enumerate(codes) if n not in unknown])
        rest = iter(found)
        merged = ["nop" if n in unknown else next(rest, "") for n in range(len(codes))]
        merged = ["nop" if _ATOMIC.match(line) else line for line in merged]
        if "" in merged or next(rest, "") or len(unknown) > len(codes) // 10:
            raise TuningError(
                "The output of llvm-mc was not understood",
                why=f"{len(found)} lines and {len(unknown)} warnings for {len(codes)} codes",
                fix="install Debian 12's llvm-19",
            )
        return merged

    def _decode(self, codes: Sequence[str]) -> tuple[list[str], set[int]]:
        """What llvm-mc prints, and the positions of what it does not know."""
        # brackets keep llvm-mc from reading over the end of an instruction
        pairs = (" ".join(f"0x{code[i : i + 2]}" for i in range(0, len(code), 2)) for code in codes)
        command = [self.disassembler, "--disassemble", f"-triple={self.triple}"]
        text = "\n".join(f"[{pair}]" for pair in pairs)
        done = _run([*command, f"-mcpu={self.cpu}"], text, may_fail=True)
        lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("\t")]
        unknown = {int(number) - 1 for number in _UNKNOWN.findall(done.stderr)}
        return [
            line for line in lines if not line.startswith(".") and line not in _PREFIXES
        ], unknown

    def cycles(self, regions: Sequence[Sequence[str]]) -> list[float]:
        """Cycles by which each piece of assembly delays its own repetition: what it costs between
        equal ones, without the filling and draining of the pipeline at the ends."""
        texts = ["\n".join(lines) for lines in regions]
        fresh = sorted({text for text in texts if text not in self.known})
        counts = [_copies(text) for text in fresh]
        jobs = {
            (text, n): "\n".join([text] * n)
            for text, pair in zip(fresh, counts, strict=True)
            for n in pair
            if n
        }
        totals = dict(zip(jobs, self._simulate(list(jobs.values())), strict=True))
        for text, (few, many) in zip(fresh, counts, strict=True):
            total = totals[text, many] - totals.get((text, few), 0.0)
            self.known[text] = total / (many - few)
        return [self.known[text] for text in texts]

    def _simulate(self, pieces: Sequence[str]) -> list[float]:
        """Cycles of each piece, run once."""
        if not pieces:
            return []
        text = "".join(
            f"# LLVM-MCA-BEGIN r{n}\n{piece}\n# LLVM-MCA-END r{n}\n"
            for n, piece in enumerate(pieces)
        )
        command = [
            self.simulator, f"-mtriple={self.triple}", f"-mcpu={self.cpu}",
            "-iterations=1", "--json", "--resource-pressure=0", "--instruction-info=0",
        ]  # fmt: skip
        answer = _run(command, text).stdout
        found: dict[int, float] = {}
        try:
            for region in json.loads(answer[answer.index("{") :])["CodeRegions"]:
                match = _REGION.match(region["Name"])
                if match:
                    found[int(match[1])] = region["SummaryView"]["TotalCycles"]
            return [found[n] for n in range(len(pieces))]
        except (ValueError, KeyError) as error:
            raise TuningError(
                "The output of llvm-mca was not understood",
                why=f"{type(error).__name__}: {error}",
                fix="install Debian 12's llvm-19",
            ) from error


def kernel_cycles(trace: Trace, analyser: Analyser) -> float:
    """Cycles of one call without cache misses."""
    kept = _essential(trace)
    loops = sorted({chunk for s in kept for chunk, times in s.runs if times > _WITHIN})
    chunks = sorted({chunk for s in kept for chunk, _ in s.runs})
    codes = sorted({code for chunk in chunks for code in trace.chunks[chunk]})
    assembly = dict(zip(codes, analyser.disassemble(codes), strict=True))
    text = {chunk: [assembly[code] for code in trace.chunks[chunk]] for chunk in chunks}
    bodies = [_body(segment.runs, text) for segment in kept]
    cycles = analyser.cycles([*bodies, *(text[chunk] for chunk in loops)])
    steady = dict(zip(loops, cycles[len(bodies) :], strict=True))
    total = 0.0
    for segment, within in zip(kept, cycles, strict=False):
        beyond = sum((n - _WITHIN) * steady[c] for c, n in segment.runs if n > _WITHIN)
        total += segment.count * (within + beyond)
    covered = sum(_size(trace, segment) for segment in kept)
    return total * trace.instructions / covered


def _essential(trace: Trace) -> list[Segment]:
    """The segments that make up nearly all of the work, most first."""
    order = sorted(trace.segments, key=lambda s: _size(trace, s), reverse=True)
    wanted, kept, covered = (1 - _NEGLIGIBLE) * trace.instructions, [], 0
    for segment in order:
        if covered >= wanted:
            break
        kept.append(segment)
        covered += _size(trace, segment)
    return kept


def _size(trace: Trace, segment: Segment) -> int:
    return segment.count * sum(len(trace.chunks[chunk]) * times for chunk, times in segment.runs)


def _copies(text: str) -> tuple[int, int]:
    """How often in a row a piece is simulated, for the difference of the two."""
    length = text.count("\n") + 1
    if length >= _LONG:
        return 0, 1
    few = max(1, _WARM // length)
    return few, few + max(1, _STEADY // length)


def _body(runs: Iterable[tuple[int, int]], text: Mapping[int, Sequence[str]]) -> list[str]:
    return [
        line for chunk, times in runs for _ in range(min(times, _WITHIN)) for line in text[chunk]
    ]


def _run(
    command: list[str], text: str, *, may_fail: bool = False
) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TuningError(f"{command[0]} failed", why=_cause(error)) from error
    if done.returncode and not may_fail:
        complaint = next((line for line in done.stderr.splitlines() if "error" in line), "")
        raise TuningError(f"{command[0]} failed", why=complaint or f"exit status {done.returncode}")
    return done


def _cause(error: OSError | subprocess.TimeoutExpired) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"no answer within {_TIMEOUT_S} s"
