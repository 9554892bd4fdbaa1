"""The classes with the largest of a network's outputs."""

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def top_k(
    logits: "Any", top: int, labels: "Sequence[str] | None"
) -> "list[tuple[int, float, str]]":
    """The ``top`` classes of one row of logits: (index, softmax probability, label)."""
    row = [float(value) for value in _flat(logits)]
    if not row:
        return []
    largest = max(row)
    shifted = [math.exp(value - largest) for value in row]
    total = sum(shifted)
    order = sorted(range(len(row)), key=lambda i: -row[i])[: max(1, top)]
    names = labels if labels and len(labels) == len(row) else None
    return [(i, shifted[i] / total, names[i] if names else f"class {i}") for i in order]


def _flat(values: "Any") -> "Any":
    """The numbers of an array, a memory view or a list of any number of dimensions."""
    if hasattr(values, "reshape"):
        return values.reshape(-1).tolist()
    if isinstance(values, memoryview):
        values = values.tolist()
    while isinstance(values, list) and values and isinstance(values[0], list):
        values = [item for part in values for item in part]
    return values if isinstance(values, list) else [values]
