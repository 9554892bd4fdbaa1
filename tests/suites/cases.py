"""What a suite is made of, and the four classes of what becomes of a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: ``right``: everything agrees with the judge. ``refused``: a sentence says what cannot be had.
#: ``badly``: any other end. ``wrong``: other numbers, whether the program itself saw it or not.
CLASSES = RIGHT, REFUSED, BADLY, WRONG = ("right", "refused", "badly", "wrong")


@dataclass(frozen=True)
class Outcome:
    """``kind`` is one of :data:`CLASSES`; ``why`` is empty for what is right."""

    kind: str
    why: str = ""


@dataclass(frozen=True)
class Case:
    """``key`` is unique in its suite and stays the same. ``run`` is given an empty folder to work
    in; it may crash or hang, and returns ``None`` for what turns out to be no case: one that the
    judge cannot compute either."""

    key: str
    run: Callable[[Path], Outcome | None]


@dataclass(frozen=True)
class Entry:
    """Cases that are made together: those of one operator, say. Keys are ``name/...``."""

    name: str
    cases: Callable[[], Iterator[Case]]


class Suite(Protocol):
    """``name`` is that of its table."""

    name: str

    def entries(self) -> list[Entry]:
        """In a fixed order, without doing much."""


def entry_of(key: str) -> str:
    return key.partition("/")[0]
