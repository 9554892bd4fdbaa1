"""Programs around the library's sources, built by the system's gcc with its sanitizers."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tvm_flow.support.cache import cached_folder
from tvm_flow.toolchain.runtime_library import library_sources, sources, version_flag

FLAGS = ("-std=gnu11", "-O1", "-g", "-fno-omit-frame-pointer", "-Wall", "-Werror")
PROBE = b"int main(void) { return 0; }"
ENVIRONMENT = {
    "ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}


def sanitized(
    name: str, programs: Sequence[Path], sanitizers: str, *, library: Sequence[str] = (),
    plan: Sequence[str] = (),
) -> Path:  # fmt: skip
    """The program made of the C files ``programs`` and the library's, built once and kept in the
    user's cache. ``library``: more flags for the library's files; ``plan``: more still for plan.c.

    Skips the test where there is no gcc with these sanitizers.
    """
    _require(sanitizers)
    every = [*programs, *library_sources()]
    headers = [
        *sources().glob("*.h"),
        *{path for one in programs for path in one.parent.glob("*.h")},
    ]
    digest = hashlib.sha256(repr([FLAGS, sanitizers, library, plan, _version()]).encode())
    for path in (*every, *sorted(headers)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    flags = [*FLAGS, f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", f"-I{sources()}"]

    def fill(folder: Path) -> None:
        def build(source: Path) -> Path:
            made = folder / f"{source.stem}.o"
            more = [] if source in programs else [*library, version_flag()]
            more += plan if source.name == "plan.c" else []
            _run(["gcc", *flags, *more, "-c", source, "-o", made])
            return made

        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(build, every))
        _run(["gcc", *flags, *objects, "-o", folder / name, "-lpthread", "-ldl", "-lm"])

    return cached_folder(f"programs/{name}-{digest.hexdigest()[:16]}", fill) / name


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run(command, check=True, timeout=300)


@functools.cache
def _version() -> str:
    return subprocess.run(["gcc", "--version"], capture_output=True, check=True, text=True).stdout


def _require(sanitizers: str) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc: the library is not tested under sanitizers")
    probe = ["gcc", f"-fsanitize={sanitizers}", "-x", "c", "-", "-o", os.devnull]
    done = subprocess.run(probe, input=PROBE, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"gcc lacks the sanitizers {sanitizers}: {done.stderr.decode().strip()}")
