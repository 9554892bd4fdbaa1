"""What the QEMU plugin writes: pieces of code, how often each ran, and cache misses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Misses:
    """Cache lines that were not found, in a series of calls. ``streamed`` ones follow a line next
    to them, which is what hardware prefetchers catch."""

    random: int
    streamed: int


@dataclass(frozen=True)
class Segment:
    """Consecutive code, as (chunk, repetitions) in order of execution, that ran ``count`` times."""

    runs: tuple[tuple[int, int], ...]
    count: int


@dataclass(frozen=True)
class Trace:
    """One call of a kernel. ``chunks``: machine code by number, one hexadecimal text per
    instruction; ``segments`` cover everything that was executed; ``accesses``: loads and stores;
    ``splits``: those that lie across two cache lines; ``lines``: different lines they touched."""

    chunks: dict[int, tuple[str, ...]]
    segments: tuple[Segment, ...]
    l1: Misses
    l2: Misses
    accesses: int
    splits: int
    lines: int

    @property
    def instructions(self) -> int:
        return sum(
            segment.count * sum(len(self.chunks[chunk]) * times for chunk, times in segment.runs)
            for segment in self.segments
        )


def read_trace(path: Path) -> Trace:
    """Parse the plugin's file. Raises ``ValueError`` if it is not complete (a full disk)."""
    try:
        return _parsed(path.read_text())
    except (IndexError, KeyError) as error:
        raise ValueError("the emulator's record is cut short") from error


def _parsed(text: str) -> Trace:
    head: list[str] = []
    blocks: dict[str, tuple[str, ...]] = {}
    parts: dict[int, list[str]] = {}
    segments = []
    for line in text.splitlines():
        kind, *words = line.split()
        if kind == "accesses":
            head = words
        elif kind == "block":
            blocks[words[0]] = tuple(words[1].split(","))
        elif kind == "chunk":
            parts[int(words[0])] = words[1:]
        elif kind == "segment":
            runs = tuple((int(c), int(n)) for c, n in (word.split("*") for word in words[1:]))
            segments.append(Segment(runs, int(words[0])))
    if not head or not segments:
        raise ValueError("the emulator recorded nothing")
    chunks = {
        number: tuple(code for block in names for code in blocks[block])
        for number, names in parts.items()
    }
    l1, l2 = (Misses(int(head[i]), int(head[i + 1])) for i in (4, 7))
    accesses, lines, splits = (int(head[i]) for i in (0, 2, 10))
    return Trace(chunks, tuple(segments), l1, l2, accesses, splits, lines)
