"""Files that are almost right, by the thousand, into the library under ASan and UBSan.

The program is ``fuzz/fuzz.c``; the same seed makes the same changes.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.runtime import toy
from tests.runtime.sanitized import ENVIRONMENT, sanitized
from tvm_flow.ir.picture import PictureRecipe
from tvm_flow.ir.plan import Place, PlannedTensor, Step
from tvm_flow.toolchain.runtime_library import sources

FOLDER = Path(__file__).parent / "fuzz"
FAULTY = [f"-D{name}=fuzz_{name}" for name in ("calloc", "mmap", "munmap", "pthread_create")]
#: Of plans that are right in themselves.
SENTENCES = [
    "by another version of tvm-flow", "takes larger tensors", "takes another number of arguments",
    "writes where it may not", "lacks the kernel", "this CPU lacks", "were written",
    "needs a device that this library cannot drive", "not enough memory",
]  # fmt: skip
MANY = 10  # times the cases, for `slow`


@pytest.fixture(scope="module")
def program() -> Path:
    return sanitized(
        "fuzz", [FOLDER / "fuzz.c", FOLDER / "faulty.c"], "address,undefined",
        library=FAULTY, plan=["-Dmemcpy=fuzz_memcpy"],
    )  # fmt: skip


def rich(threads: int = 2) -> toy.Toy:
    """:func:`toy.network` with everything that a plan can have: labels, pictures, cores, features,
    tensors that share the memory of an input and of an output, and a copy onto a part of itself."""
    made = toy.network(threads)
    aliases = (
        PlannedTensor(Place.INPUT, (30,), "float32", 0),
        PlannedTensor(Place.OUTPUT, (60,), "uint8", 2),
        PlannedTensor(Place.ARENA, (60,), "float32", 64),
    )
    tensors, steps = (*made.plan.tensors, *aliases), (*made.plan.steps, Step(None, (4, 10)))
    plan = replace(made.plan, tensors=tensors, steps=steps, arena=320)
    recipe = PictureRecipe(6, 5, 4, (0.5,) * 3, (0.2,) * 3)
    return replace(
        made, plan=plan, labels=("ant", "bee", "c" * 40), pictures=((0, recipe),), cores=(0, 1),
        features=toy.native_features(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(rich(), tmp_path_factory.mktemp("fuzz") / "rich")


def fuzz(program: Path, kind: str | Path, bundle: Path, cases: int, seed: int) -> str:
    """What it printed. Fails where a sanitizer found something, or a case takes for ever."""
    done = subprocess.run(
        [program, kind, bundle, str(cases), str(seed)],
        capture_output=True, text=True, errors="replace", check=False, timeout=20 + cases / 50,
        env={**os.environ, **ENVIRONMENT},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout


def counts(output: str) -> dict[str, int]:
    last = output.splitlines()[-1]
    return {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", last)}


def faults() -> set[str]:
    """What plan.c can find wrong, by its source."""
    source = (sources() / "plan.c").read_text()
    found = re.findall(r'fault\(r, "([^"]+)"\)', source)
    found += re.findall(r'return "([^"]+)";', source)
    assert len(found) > 30
    return {*found}


@pytest.mark.parametrize("times", [1, pytest.param(MANY, marks=pytest.mark.slow)])
def test_plans(program: Path, bundle: Path, tmp_path: Path, times: int) -> None:
    """Every sentence about a damaged plan is reached: no check stands behind another one."""
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    said = fuzz(program, "plan", copy, 6000 * times, seed=times)
    assert {fault for fault in faults() if fault not in said} == set()
    for sentence in SENTENCES:
        assert sentence in said
    assert counts(said)["ran"] > 20 * times


@pytest.mark.parametrize("times", [1, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["weights", "code"])
def test_weights_and_code(
    program: Path, bundle: Path, tmp_path: Path, kind: str, times: int
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    said = fuzz(program, kind, copy, 300 * times, seed=times)
    assert "it was changed after it was written" in said
    assert "were written" in said
    if kind == "code":
        assert "is not a 64-bit library" in said
        assert "for another architecture" in said
    else:
        assert counts(said)["ran"] > 20


@pytest.mark.parametrize("times", [1, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", [".npy", ".bin", ".ppm", ".pgm"])
def test_inputs(program: Path, bundle: Path, tmp_path: Path, suffix: str, times: int) -> None:
    path = tmp_path / f"x{suffix}"
    values = np.random.default_rng(0)
    if suffix == ".npy":
        np.save(path, values.standard_normal((1, 3, 4, 5), np.float32))
    elif suffix == ".bin":
        path.write_bytes(values.standard_normal(60, np.float32).tobytes())
    else:
        kind, channels = (b"P6", 3) if suffix == ".ppm" else (b"P5", 1)
        pixels = values.integers(0, 255, 11 * 9 * channels, np.uint8).tobytes()
        path.write_bytes(kind + b"\n# by hand\n11 9\n255\n" + pixels)
    found = counts(fuzz(program, path, bundle, 500 * times, seed=times))
    assert found["refused"] > 50 * times
    assert found["ran"] > 20 * times
