"""TVM's runtime libraries for every architecture, of exactly the installed versions."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from tvm_flow.support.cache import cached_folder
from tvm_flow.support.child import SAFE_PATH
from tvm_flow.support.errors import EnvironmentFault
from tvm_flow.toolchain.elf import elf_arch

#: Everything the C++ side needs, package -> (module, library). ``libtvm_runtime_extra.so`` is not
#: among them: it holds TVM's bindings to BLAS and the like, which no bundle calls.
LIBRARIES = {
    "apache-tvm": ("tvm", "libtvm_runtime.so"),
    "apache-tvm-ffi": ("tvm_ffi", "libtvm_ffi.so"),
}
NAMES = tuple(library for _, library in LIBRARIES.values())
DOWNLOAD_TIMEOUT_S = 900  # about 100 MB: the compiler is in the same wheel


def runtime_libraries(arch: str) -> Path:
    """The folder with :data:`NAMES` for ``arch`` (``x86_64`` or ``aarch64``), and nothing else.

    For this machine's own architecture they are those of the installed packages; for another they
    are downloaded with pip the first time, and kept in the user's cache. Raises
    :class:`EnvironmentFault` where they cannot be had.
    """
    versions = "-".join(metadata.version(package) for package in LIBRARIES)

    def fill(folder: Path) -> None:
        for source, name in _installed() if arch == platform.machine() else _downloaded(arch):
            shutil.copyfile(source, folder / name)
            (folder / name).chmod(0o755)
            _require_arch(folder / name, arch)

    return cached_folder(f"runtime/{arch}-{versions}", fill)


def _installed() -> Iterator[tuple[Path, str]]:
    for package, (module, library) in LIBRARIES.items():
        spec = importlib.util.find_spec(module)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            yield Path(folder) / "lib" / library, library
            break
        else:
            raise EnvironmentFault(f"{package} is not installed", fix="tvm-flow doctor")


def _downloaded(arch: str) -> Iterator[tuple[Path, str]]:
    with tempfile.TemporaryDirectory(prefix="tvm-flow-wheels-") as name:
        folder = Path(name)
        _download(arch, folder)
        for package, (module, library) in LIBRARIES.items():
            wheel = next(folder.glob(f"{package.replace('-', '_')}-{metadata.version(package)}-*"))
            with zipfile.ZipFile(wheel) as archive:
                yield Path(archive.extract(f"{module}/lib/{library}", folder / "out")), library
            with suppress(OSError):
                wheel.unlink()  # makes room for the copy


def _download(arch: str, folder: Path) -> None:
    """The wheels of :data:`LIBRARIES` for another machine, with pip and its settings."""
    wanted = [f"{package}=={metadata.version(package)}" for package in LIBRARIES]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--platform", f"manylinux_2_28_{arch}"]
    command += ["--python-version", version, "--dest", str(folder), *wanted]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_S,
            check=False,
            env={**os.environ, **SAFE_PATH},
        )
        failure = _cause(done.stderr) if done.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"it took longer than {DOWNLOAD_TIMEOUT_S} s"
    if failure:
        raise EnvironmentFault(
            f"Cannot download TVM's runtime libraries for {arch}",
            why=failure,
            fix=f"connect to the network, then repeat; it needs {' and '.join(wanted)} once",
        )


def _cause(output: str) -> str:
    """pip's most telling line: its first error, which names the connection if that is it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "onnection" in line or line.startswith("ERROR")]
    return (telling or lines or ["pip failed"])[0].removeprefix("ERROR: ")[:300]


def _require_arch(library: Path, arch: str) -> None:
    if elf_arch(library) != arch:
        raise EnvironmentFault(
            f"{library.name} is for {elf_arch(library)}, not {arch}",
            why="the wheel that was downloaded is not what it says",
            fix="clear pip's cache (python -m pip cache purge) and repeat",
        )
