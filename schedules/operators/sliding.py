"""A window that slides over images: what convolutions and pooling have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Self

from tvm_flow.schedules.contract.problem import NHWC, Problem

#: Padding on the far side that is that of the near side.
SAME = -1


def window_params(params: Mapping[str, int | str]) -> dict[str, int | str]:
    """The parameters of a problem with a window without those that have their defaults: ``dh`` and
    ``dw`` (dilation) of 1, ``pb`` and ``pr`` (padding below and on the right) as ``ph`` and ``pw``,
    ``groups`` of 1."""
    defaults = {"dh": 1, "dw": 1, "pb": params["ph"], "pr": params["pw"], "groups": 1}
    return {k: v for k, v in params.items() if k not in defaults or v != defaults[k]}


@dataclass(frozen=True)
class Sliding:
    """n images of h x w under a window of kh x kw, in steps of sh x sw, padded by ph rows above and
    pw columns on the left, pb below and pr on the right; taps are dh rows and dw columns apart."""

    n: int
    h: int
    w: int
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int
    dh: int = field(default=1, kw_only=True)
    dw: int = field(default=1, kw_only=True)
    pb: int = field(default=SAME, kw_only=True)
    pr: int = field(default=SAME, kw_only=True)

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """The problem's parameters of these names; those that have a default may be absent."""
        return cls(**{
            given.name: problem[given.name] if given.default is MISSING
            else problem.get(given.name, int(given.default))
            for given in fields(cls)
        })  # fmt: skip

    @property
    def oh(self) -> int:
        """Rows of the output."""
        return (self.h + self.ph + self.below - self.span_h) // self.sh + 1

    @property
    def ow(self) -> int:
        """Columns of the output."""
        return (self.w + self.pw + self.right - self.span_w) // self.sw + 1

    @property
    def below(self) -> int:
        """Rows of padding below."""
        return self.ph if self.pb == SAME else self.pb

    @property
    def right(self) -> int:
        """Columns of padding on the right."""
        return self.pw if self.pr == SAME else self.pr

    @property
    def span_h(self) -> int:
        """Rows from the first tap of a window to the last, both included."""
        return (self.kh - 1) * self.dh + 1

    @property
    def span_w(self) -> int:
        """Columns from the first tap of a window to the last, both included."""
        return (self.kw - 1) * self.dw + 1

    @property
    def dilation(self) -> tuple[int, int]:
        return self.dh, self.dw

    @property
    def even(self) -> bool:
        """Whether padding is the same on both sides."""
        return (self.below, self.right) == self.pad

    def idle_row(self, y: int, rows: int) -> bool:
        """Whether ``rows`` output rows have no tap ``y`` rows below the first of the first, since
        that lies between the taps of dilated windows."""
        return self.dh > 1 and all(self.tap_row(y - i * self.sh) is None for i in range(rows))

    def tap_row(self, y: int) -> int | None:
        """Which row of taps is ``y`` rows below the first, if any."""
        return _tap(y, self.dh, self.kh)

    def tap_column(self, x: int) -> int | None:
        """Which column of taps is ``x`` columns right of the first, if any."""
        return _tap(x, self.dw, self.kw)

    @property
    def stride(self) -> tuple[int, int]:
        return self.sh, self.sw

    @property
    def pad(self) -> tuple[int, int]:
        """Above and on the left."""
        return self.ph, self.pw

    @property
    def border(self) -> tuple[int, int, int, int]:
        """Padding above, on the left, below, on the right."""
        return self.ph, self.pw, self.below, self.right


def _tap(offset: int, apart: int, count: int) -> int | None:
    tap, between = divmod(offset, apart)
    return tap if not between and 0 <= tap < count else None


class Grouped:
    """``ci`` channels read and ``co`` written, in ``groups`` that know nothing of each other."""

    ci: int
    co: int
    groups: int

    @property
    def gi(self) -> int:
        """Input channels of one group."""
        return self.ci // self.groups

    @property
    def go(self) -> int:
        """Output channels of one group."""
        return self.co // self.groups

    @property
    def channelwise(self) -> bool:
        """Whether every output channel has an input channel of its own."""
        return self.groups > 1 and self.gi == self.go == 1


@dataclass(frozen=True)
class WindowShape(Sliding):
    """Images with ``cp`` channels, of which ``c`` from ``c0`` are swept."""

    c: int
    cp: int
    c0: int


def shape_of(layout: str, n: int, h: int, w: int, c: int) -> tuple[int, int, int, int]:
    """A 4-D shape in ``nhwc`` or ``nchw``."""
    return (n, h, w, c) if layout == NHWC else (n, c, h, w)
