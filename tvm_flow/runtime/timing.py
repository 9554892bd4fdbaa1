"""Summaries of times."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Timing:
    """Median and 10th/90th percentile in milliseconds over ``runs`` single runs or rounds."""

    def __init__(self, median_ms: float, p10_ms: float, p90_ms: float, runs: int) -> None:
        self.median_ms, self.p10_ms, self.p90_ms, self.runs = median_ms, p10_ms, p90_ms, runs

    def to_json(self) -> "dict[str, float]":
        return {"median_ms": self.median_ms, "p10_ms": self.p10_ms, "p90_ms": self.p90_ms}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timing) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Timing({self.median_ms!r}, {self.p10_ms!r}, {self.p90_ms!r}, {self.runs!r})"

    def __str__(self) -> str:
        return "{:.3f} ms median (p10 {:.3f}, p90 {:.3f}, {} runs)".format(
            self.median_ms, self.p10_ms, self.p90_ms, self.runs
        )


def summarise(seconds: "Sequence[float]") -> Timing:
    """Summary of a non-empty list of times in seconds."""
    ordered = sorted(1e3 * value for value in seconds)
    low, middle, high = (_percentile(ordered, share) for share in (0.1, 0.5, 0.9))
    return Timing(middle, low, high, len(ordered))


def _percentile(ordered: "Sequence[float]", share: float) -> float:
    """Linear between the two nearest, as NumPy's default."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
