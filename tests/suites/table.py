"""The committed table of a suite: a line per case with its key, its class, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.suites.cases import CLASSES, RIGHT, Outcome

_FOLDER = Path(__file__).parent / "tables"
_CHECKOUT = f"{Path(__file__).parents[2]}/"
_WHY = 110  # characters kept of a sentence

Table = dict[str, Outcome]


def path_of(suite: str) -> Path:
    return _FOLDER / f"{suite}.txt"


def read(suite: str) -> Table:
    found = {}
    for line in path_of(suite).read_text(encoding="utf-8").splitlines():
        key, kind, *why = line.split(maxsplit=2)
        found[key] = Outcome(kind, *why)
    return found


def write(suite: str, outcomes: Mapping[str, Outcome]) -> None:
    lines = []
    for key, outcome in sorted(outcomes.items()):
        why = " ".join(outcome.why.replace(_CHECKOUT, "").split())[:_WHY].strip()
        lines.append(f"{key} {outcome.kind} {why}".strip())
    path_of(suite).write_text("\n".join(lines) + "\n", encoding="utf-8")


def counts(outcomes: Mapping[str, Outcome]) -> dict[str, int]:
    return {kind: sum(o.kind == kind for o in outcomes.values()) for kind in CLASSES}


def differences(expected: Mapping[str, Outcome], found: Mapping[str, Outcome]) -> list[str]:
    """Cases of ``expected`` whose class has changed, and those that only one side has."""
    lines = []
    for key in sorted(expected.keys() | found.keys()):
        before, now = expected.get(key), found.get(key)
        kinds = [side.kind if side else "no case" for side in (before, now)]
        if kinds[0] != kinds[1]:
            lines.append(f"{key}: {kinds[0]} -> {kinds[1]} {now.why if now else ''}".rstrip())
    return lines


def sample(expected: Mapping[str, Outcome], size: int) -> list[str]:
    """Keys of about ``size`` cases: spread over the table, a quarter of them of what is refused."""
    right = sorted(key for key, outcome in expected.items() if outcome.kind == RIGHT)
    rest = sorted(expected.keys() - set(right))
    quarter = min(size // 4, len(rest))
    return _spread(right, size - quarter) + _spread(rest, quarter)


def _spread(keys: list[str], size: int) -> list[str]:
    if size <= 0 or not keys:
        return []
    return keys[:: max(1, len(keys) // size)][:size]
