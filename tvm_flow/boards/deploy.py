"""What makes a bundle run on a board by itself: the runtime for C and Python, and a program."""

from __future__ import annotations

import binascii
import shutil
from pathlib import Path

from tvm_flow.boards.templates import filled
from tvm_flow.support.elf_header import NotElf
from tvm_flow.support.errors import CompileError
from tvm_flow.support.resources import package_file
from tvm_flow.support.version import __version__
from tvm_flow.targets import Board
from tvm_flow.toolchain.c_compiler import MUSL
from tvm_flow.toolchain.elf import needed_glibc, version_key
from tvm_flow.toolchain.runtime_library import (
    HEADER,
    RUNNER,
    SHARED,
    STATIC,
    runtime_library,
    sources,
)

INSTALLER, LIBRARIES, HEADERS, PYTHON = "install.sh", "lib", "include", "python"
#: The errors, for the package of the runtime.
_SUPPORT = ("__init__.py", "errors.py")
_INIT = '''"""The part of tvm-flow that runs a bundle."""

from tvm_flow.runtime import *  # noqa
from tvm_flow.support.errors import *  # noqa
'''


def add_runtime(directory: Path, board: Board, libc: str, *, model: str, runner: bool) -> None:
    """Put the runtime for ``board`` and ``libc`` into a bundle that is being written: library,
    header, files for CMake and pkg-config, Python package; and with ``runner`` the program and the
    installer.

    Raises :class:`EnvironmentFault`, :class:`CompileError` and ``OSError``.
    """
    built = runtime_library(board.arch, libc)
    (directory / LIBRARIES).mkdir()
    (directory / HEADERS).mkdir()
    for name in (SHARED, STATIC):
        shutil.copy(built / name, directory / LIBRARIES / name)
    library = directory / LIBRARIES / SHARED
    require_libc(library, board.name, libc)
    content = library.read_bytes()
    stamp = f"{binascii.crc32(content):08x} {len(content)}\n"
    library.with_suffix(".crc32").write_text(stamp, encoding="ascii")
    shutil.copyfile(sources() / HEADER, directory / HEADERS / HEADER)
    values = {"ARCH": board.arch, "GLIBC": libc, "VERSION": __version__, "MODEL": model,
              "BOARD": board.title}  # fmt: skip
    files = package_file("boards", "bundle_files")
    for name in ("tvm_flow-config.cmake", "tvm_flow.pc", "README.md"):
        target = directory / _PLACES.get(name, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(filled(files / f"{name}.in", values), encoding="utf-8")
    add_python(directory / PYTHON)
    shutil.copyfile(package_file("runtime", "run.py"), directory / "run.py")
    if runner:
        shutil.copy(built / RUNNER, directory / RUNNER)
        installer = directory / INSTALLER
        installer.write_text(filled(files / INSTALLER, values), encoding="utf-8")
        installer.chmod(0o755)


_PLACES = {
    "tvm_flow-config.cmake": f"{LIBRARIES}/cmake/tvm_flow/tvm_flow-config.cmake",
    "tvm_flow.pc": f"{LIBRARIES}/pkgconfig/tvm_flow.pc",
}


def add_python(folder: Path) -> None:
    """The package ``tvm_flow`` as it is on a board: the runtime and its errors."""
    package = folder / "tvm_flow"
    for name in ("runtime", "support"):
        (package / name).mkdir(parents=True)
    (package / "__init__.py").write_text(_INIT, encoding="ascii")
    for name in _SUPPORT:
        shutil.copyfile(package_file("support", name), package / "support" / name)
    for source in sorted(package_file("runtime").glob("*.py")):
        if source.name != "run.py":
            shutil.copyfile(source, package / "runtime" / source.name)


def require_libc(path: Path, board: str, libc: str) -> None:
    """Raise :class:`CompileError` if ``path`` needs a newer glibc than ``libc``."""
    if libc == MUSL:
        return
    try:
        needed = needed_glibc(path)
    except NotElf as error:
        raise CompileError(f"the linker made no usable {path.name}", why=str(error)) from error
    if needed is not None and version_key(needed) > version_key(libc):
        raise CompileError(
            f"{path.name} would not load on {board}",
            why=f"it needs glibc {needed}, {libc} is there",
            fix="install ziglang, which links for any version, and compile again",
        )


def deploy_bytes(directory: Path) -> int:
    """Bytes of everything in a bundle but code, plan, weights and sample: what it needs to run."""
    folders = (directory / name for name in (LIBRARIES, HEADERS, PYTHON))
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += [directory / name for name in (RUNNER, INSTALLER, "run.py", "README.md")]
    return sum(path.stat().st_size for path in files if path.exists())
