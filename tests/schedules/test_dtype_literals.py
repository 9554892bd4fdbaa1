"""fp32 is a default, not an assumption: its name stands in one place, and sizes come from types."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = [
    "schedules",
    *(f"tvm_flow/{layer}" for layer in ("ir", "passes", "codegen", "frontend", "tuning")),
]
#: The type's name as code. Text for people does not stand alone between quotes.
LITERAL = re.compile(r"""(['"])float32(x\d+)?\1|\b(np|numpy|torch)\.float32\b""")
#: Where it may stand: its one definition; images, which are fp32 at the border; and the numbers of
#: the tuner's cost model, which have nothing to do with tensors.
ALLOWED = {
    "schedules/contract/dtypes.py": 1,
    "tvm_flow/frontend/model.py": 1,
    "tvm_flow/tuning/search/cost_model.py": None,
}
#: A size in bytes of elements of 4 bytes.
SIZE = re.compile(r"(?:\b4 \*|\* 4\b|// 4\b|\b8 \*).*bytes|bytes.*(?:\b4 \*|\* 4\b|// 4\b|\b8 \*)")


def sources(layer: str) -> list[Path]:
    found = sorted((ROOT / layer).rglob("*.py"))
    assert found, f"{layer} has moved: say where to look for literals"
    return found


def lines(path: Path, pattern: re.Pattern[str]) -> list[str]:
    text = path.read_text().splitlines()
    return [f"{path}:{n}: {line}" for n, line in enumerate(text, 1) if pattern.search(line)]


@pytest.mark.parametrize("layer", LAYERS)
def test_fp32_is_named_in_one_place(layer: str) -> None:
    for path in sources(layer):
        found = lines(path, LITERAL)
        most = ALLOWED.get(path.relative_to(ROOT).as_posix(), 0)
        assert most is None or len(found) <= most, "\n".join(found)


@pytest.mark.parametrize("layer", LAYERS)
def test_sizes_come_from_types(layer: str) -> None:
    found = [line for path in sources(layer) for line in lines(path, SIZE)]
    assert not [line for line in found if "dtype.bytes" not in line], "\n".join(found)


@pytest.mark.parametrize(
    "line", ['T.alloc_buffer((n,), "float32")', "x.astype(np.float32)", "'float32x16'"]
)
def test_literals_are_found(line: str) -> None:
    assert LITERAL.search(line)


@pytest.mark.parametrize("line", ["bytes_ = 4 * k * n", "cpu.l1_bytes // (8 * reduction)"])
def test_sizes_are_found(line: str) -> None:
    assert SIZE.search(line)
