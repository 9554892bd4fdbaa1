"""What makes a bundle run on a board by itself: the C++ runner, its libraries, an installer."""

from __future__ import annotations

import shutil
from pathlib import Path

from tvm_flow.boards.libraries import NAMES, runtime_libraries
from tvm_flow.boards.server_build import board_program
from tvm_flow.boards.templates import filled
from tvm_flow.runtime.elf import NotElf
from tvm_flow.support.errors import CompileError
from tvm_flow.support.resources import package_file
from tvm_flow.targets import Board
from tvm_flow.toolchain.elf import needed_glibc, version_key

RUNNER, INSTALLER = "runner", "install.sh"
SOURCES = ("runner.cc", "runner_inputs.h", "runner_manifest.h", "tvm_calls.h")


def runner_program(board: Board) -> Path:
    """The C++ runner for a board, with ``lib/`` beside it. The source is the same for every
    model: it is built once per architecture (about a minute) and then kept in the user's cache.

    Raises :class:`EnvironmentFault` and :class:`CompileError`.
    """
    sources = [package_file("runtime", name) for name in SOURCES]
    return board_program(RUNNER, sources, board.arch, board.glibc_floor)


def add_runner(directory: Path, board: Board) -> None:
    """Put runner, libraries and installer for ``board`` into a bundle that is being written.

    Raises :class:`EnvironmentFault`, :class:`CompileError` and ``OSError``.
    """
    program, libraries = runner_program(board), runtime_libraries(board.arch)
    shutil.copy(program, directory / RUNNER)
    require_glibc(directory / RUNNER, board)
    (directory / "lib").mkdir()
    for name in NAMES:
        shutil.copy(libraries / name, directory / "lib" / name)
    values = {"ARCH": board.arch, "GLIBC": _newest_glibc(directory)}
    installer = package_file("boards", "bundle_files", INSTALLER)
    (directory / INSTALLER).write_text(filled(installer, values), encoding="utf-8")
    (directory / INSTALLER).chmod(0o755)


def require_glibc(path: Path, board: Board) -> None:
    """Raise :class:`CompileError` if ``path`` needs a newer glibc than the board has."""
    try:
        needed = needed_glibc(path)
    except NotElf as error:
        raise CompileError(f"the linker made no usable {path.name}", why=str(error)) from error
    if needed is not None and version_key(needed) > version_key(board.glibc_floor):
        raise CompileError(
            f"{path.name} would not load on {board.name}",
            why=f"it needs glibc {needed}, the board has {board.glibc_floor}",
            fix="install ziglang, which links for any version, and compile again",
        )


def deploy_bytes(directory: Path) -> int:
    """Size in bytes of runner and libraries in a bundle; 0 where it has none."""
    files = [directory / RUNNER, *(directory / "lib" / name for name in NAMES)]
    return sum(path.stat().st_size for path in files if path.exists())


def runtime_notes(directory: Path, board: Board) -> list[str]:
    """What there is to say about TVM's own libraries in a bundle, which are not ours to build."""
    needed = _newest_glibc(directory)
    if version_key(needed) <= version_key(board.glibc_floor):
        return []
    return [
        f"model.so loads with glibc {board.glibc_floor}, TVM's runtime libraries need {needed}: "
        f"on {board.name} they have to be built from source"
    ]


def _newest_glibc(directory: Path) -> str:
    """What the most demanding of runner and libraries needs."""
    files = [directory / RUNNER, *(directory / "lib" / name for name in NAMES)]
    return max(filter(None, map(needed_glibc, files)), key=version_key)
