"""Integer arithmetic on loop variables: where an element lies as a sum of axes times strides.

TVM's analyzer answers the same questions, at a hundred times the price of these few rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Axis:
    """A loop over ``0 <= axis < extent``; equal only to itself by ``number``."""

    number: int
    extent: int


@dataclass(frozen=True)
class Quotient:
    """``of // by``, rounded down."""

    of: Affine
    by: int


@dataclass(frozen=True)
class Remainder:
    """``of % by``, never negative."""

    of: Affine
    by: int


@dataclass(frozen=True)
class Computed:
    """An index that is computed from other things than axes: a TIR expression, and what its
    variables stand for."""

    expression: Any
    variables: tuple[tuple[Any, Affine], ...]


Atom: TypeAlias = Axis | Quotient | Remainder | Computed


@dataclass(frozen=True)
class Affine:
    """``constant`` plus the sum of atoms times their factors, none of which is zero."""

    terms: tuple[tuple[Atom, int], ...] = ()
    constant: int = 0

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.terms, self.constant + other)
        factors = dict(self.terms)
        for atom, factor in other.terms:
            factors[atom] = factors.get(atom, 0) + factor
        made = Affine(
            tuple((atom, factor) for atom, factor in factors.items() if factor),
            self.constant + other.constant,
        )
        return _recombined(made)

    def __mul__(self, factor: int) -> Affine:
        if factor == 0:
            return Affine()
        return Affine(tuple((a, f * factor) for a, f in self.terms), self.constant * factor)

    def __sub__(self, other: Affine) -> Affine:
        return self + other * -1

    def __floordiv__(self, by: int) -> Affine:
        whole, rest = self._split(by)
        if rest.within(0, by - 1):
            return whole
        return whole + Affine(((Quotient(rest, by), 1),))

    def __mod__(self, by: int) -> Affine:
        rest = self._split(by)[1]
        return rest if rest.within(0, by - 1) else Affine(((Remainder(rest, by), 1),))

    def _split(self, by: int) -> tuple[Affine, Affine]:
        """``self == whole * by + rest``, as much as possible in ``whole``."""
        whole = tuple((a, f // by) for a, f in self.terms if f % by == 0)
        rest = tuple((a, f) for a, f in self.terms if f % by)
        return Affine(whole, self.constant // by), Affine(rest, self.constant % by)

    def bounds(self) -> tuple[int, int] | None:
        """Least and greatest value; ``None`` where they are not known."""
        low = high = self.constant
        for atom, factor in self.terms:
            span = _bounds(atom)
            if span is None:
                return None
            ends = sorted((span[0] * factor, span[1] * factor))
            low, high = low + ends[0], high + ends[1]
        return low, high

    def within(self, low: int, high: int) -> bool:
        span = self.bounds()
        return span is not None and low <= span[0] and span[1] <= high

    def factor(self, atom: Atom) -> int:
        return dict(self.terms).get(atom, 0)

    def without(self, atom: Atom) -> Affine:
        return Affine(tuple(pair for pair in self.terms if pair[0] != atom), self.constant)

    def axes(self) -> Iterator[Axis]:
        """All axes it depends on, some perhaps more than once."""
        for atom, _ in self.terms:
            if isinstance(atom, Axis):
                yield atom
            elif isinstance(atom, Computed):
                for _, value in atom.variables:
                    yield from value.axes()
            else:
                yield from atom.of.axes()

    def replaced(self, by: Callable[[Axis], Affine]) -> Affine:
        """With other things in the place of its axes."""
        total = Affine((), self.constant)
        for atom, factor in self.terms:
            total = total + _replaced(atom, by) * factor
        return total

    def parts(self) -> Iterator[Affine]:
        """Itself and what its atoms are made of."""
        yield self
        for atom, _ in self.terms:
            if isinstance(atom, Computed):
                for _, value in atom.variables:
                    yield from value.parts()
            elif not isinstance(atom, Axis):
                yield from atom.of.parts()


def of_axis(axis: Axis) -> Affine:
    """The axis itself; 0 where it has one value only."""
    return Affine(((axis, 1),)) if axis.extent > 1 else Affine()


def _recombined(affine: Affine) -> Affine:
    """Quotients and remainders that are the whole again: ``x // n * n + x % n`` is ``x``."""
    factors = dict(affine.terms)
    for atom, factor in affine.terms:
        if isinstance(atom, Remainder):
            quotient = Quotient(atom.of, atom.by)
            if factors.get(quotient) == factor * atom.by:
                rest = affine.without(atom).without(quotient)
                return rest + atom.of * factor
    return affine


def _bounds(atom: Atom) -> tuple[int, int] | None:
    if isinstance(atom, Axis):
        return 0, atom.extent - 1
    if isinstance(atom, Computed):
        return None
    span = atom.of.bounds()
    if isinstance(atom, Remainder):
        return 0, atom.by - 1
    return None if span is None else (span[0] // atom.by, span[1] // atom.by)


def _replaced(atom: Atom, by: Callable[[Axis], Affine]) -> Affine:
    if isinstance(atom, Axis):
        return by(atom)
    if isinstance(atom, Quotient):
        return atom.of.replaced(by) // atom.by
    if isinstance(atom, Remainder):
        return atom.of.replaced(by) % atom.by
    variables = tuple((var, value.replaced(by)) for var, value in atom.variables)
    return Affine(((Computed(atom.expression, variables), 1),))
