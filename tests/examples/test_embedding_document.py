"""What docs/embedding.md tells to type runs, and its code compiles; the format is as documented."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tvm_flow

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?P<left_out><!-- not run: [^\n]+ -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.S
)
AROUND_C = """
#include <stdio.h>
#include <stdlib.h>
#include "tvm_flow.h"
const void* next_frame(void);
void use(const void* scores);
void piece(tvmf_model* model, tvmf_instance* net, const void* frame);
void piece(tvmf_model* model, tvmf_instance* net, const void* frame) {
  (void)model, (void)net, (void)frame;
%s
}
"""


def blocks(kind: str) -> list[str]:
    return [b["text"] for b in BLOCK.finditer(TEXT) if b["kind"] == kind and not b["left_out"]]


@pytest.fixture
def folder(colours: Path, tmp_path: Path) -> Path:
    """A working directory like the checkout's after the first command."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "net").symlink_to(colours)
    (tmp_path / "frames.rgb").write_bytes(bytes((255, 0, 0)) * (64 * 48 * 2))
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.system("embed")
def test_what_is_to_be_typed_runs(folder: Path) -> None:
    typed = [line for block in blocks("console") for line in block.splitlines()]
    assert len(typed) >= 12
    assert all(line.startswith("$ ") for line in typed)
    said = run(["bash", "-exc", "\n".join(line[2:] for line in typed)], folder)
    loops = [line for line in typed if "frames.rgb" in line]
    assert said.count("2 frames, ") == len(loops) == 3
    assert sum(line.endswith("sample_input.npy") for line in typed) == 4


@pytest.mark.system("embed")
def test_pieces_of_c_compile(colours: Path, tmp_path: Path) -> None:
    pieces = blocks("c")
    assert len(pieces) >= 3
    for number, piece in enumerate(pieces):
        source = tmp_path / f"piece{number}.c"
        source.write_text(AROUND_C % piece)
        run(["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-but-set-variable",
             "-fsyntax-only", f"-I{colours}/include", str(source)], tmp_path)  # fmt: skip


def test_the_piece_of_python_runs(folder: Path) -> None:
    (piece,) = blocks("python")
    run([sys.executable, "-c", piece + "\nassert len(scores.tolist()[0]) == 3"], folder)


# -- docs/bundle-format.md ------------------------------------------------------------------------


@dataclass
class Plan:
    """Reads fields as the page on the format has them, and nothing from the code that writes."""

    data: bytes
    at: int = 32

    def take(self, types: str) -> Any:
        values = struct.unpack_from(f"<{types}", self.data, self.at)
        self.at += struct.calcsize(f"<{types}")
        return values if len(values) > 1 else values[0]

    def text(self) -> str:
        length = self.take("I")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def numbers(self, kind: str = "I") -> list[int]:
        return [self.take(kind) for _ in range(self.take("I"))]

    def texts(self) -> list[str]:
        return [self.text() for _ in range(self.take("I"))]

    def tensor(self) -> tuple[int, int, int, int, list[int], int]:
        place, device, code, bits = self.take("4B")
        return place, device, code, bits, self.numbers("Q"), self.take("Q")

    def step(self) -> tuple[int, int, int, tuple[int, ...], list[int]]:
        kind, device = self.take("2B")
        return kind, device, self.take("I"), self.take("7I"), self.numbers()


def test_the_format_is_what_its_page_says(colours: Path) -> None:
    content = (colours / "plan.bin").read_bytes()
    bundle = tvm_flow.load(colours)
    assert struct.unpack_from("<8sIIQ", content) == (b"TVMFPLAN", 3, 0, len(content))
    plan = Plan(content)
    assert [plan.text() for _ in range(3)] == [bundle.model, bundle.target, tvm_flow.__version__]
    plan.take("I")
    plan.texts()
    assert plan.take("I") == 1
    plan.numbers()
    alignment = plan.take("I")
    for name in ("model.so", "weights.bin"):
        assert plan.take("QQ")[0] == (colours / name).stat().st_size
    assert plan.take("d") == bundle.tolerance
    assert plan.numbers() == [1]
    kernels = [(plan.text(), plan.take("I")) for _ in range(plan.take("I"))]
    assert plan.take("I") == 1, "one set of shapes"
    assert plan.take("Q") == bundle.arena_bytes
    inputs, outputs = plan.take("II")
    tensors = [plan.tensor() for _ in range(plan.take("I"))]
    ports = [(plan.text(), plan.text(), plan.take("I")) for _ in range(inputs + outputs)]
    for (name, layout, number), spec in zip(ports, bundle.inputs + bundle.outputs, strict=True):
        assert (name, layout) == (spec.name, spec.layout)
        assert tensors[number][1:5] == (0, 2, 32, list(spec.shape))
    assert [tensors[number][0] for *_, number in ports] == [2, 3]
    assert all(t[5] % alignment == 0 for t in tensors if t[0] < 2)
    steps = [plan.step() for _ in range(plan.take("I"))]
    assert [kernels[s[2]][0] if s[0] == 0 else "copy" for s in steps] == bundle.steps
    assert {s[3] for s in steps} == {(1, 1, 1, 1, 1, 1, 0)}
    assert plan.take("I") == 1, "one input takes pictures"
    assert plan.take("5I") == (0, 46, 40, 32, 0)
    mean, std = [0.485, 0.456, 0.406, 0.406], [0.229, 0.224, 0.225, 0.225]
    np.testing.assert_allclose(plan.take("9f"), [1, *mean, *std], rtol=1e-6)
    assert plan.texts() == bundle.labels == ["red", "green", "blue"]
    assert plan.at == len(content)
