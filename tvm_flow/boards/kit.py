"""The board kit: all a board needs to join a farm, in one directory to copy there."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tvm_flow.boards.libraries import NAMES, runtime_libraries
from tvm_flow.boards.server_build import SERVER, server_program
from tvm_flow.boards.templates import filled
from tvm_flow.support.errors import UsageError
from tvm_flow.support.manifest import fingerprint
from tvm_flow.support.publish import refuse_foreign, replaced
from tvm_flow.support.resources import package_file
from tvm_flow.targets import Board
from tvm_flow.toolchain.elf import needed_glibc, version_key

FORMAT = "tvm-flow-board-kit"
DESCRIPTION = "kit.json"
#: Seconds after which a board ends any session: a client that froze must not block it for ever.
SESSION_LIMIT_S = 3600


@dataclass(frozen=True)
class Kit:
    """A kit that was written. ``glibc``: the oldest version it runs with, by the symbol versions
    of its files; ``size``: of all files, in bytes."""

    path: Path
    board: str
    key: str
    arch: str
    glibc: str
    size: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "board": self.board,
            "key": self.key,
            "arch": self.arch,
            "glibc": self.glibc,
            "bytes": self.size,
            "notes": list(self.notes),
        }


def write_kit(board: Board, out_dir: Path | str, *, key: str | None = None) -> Kit:
    """Write server, libraries, service, installer and README for ``board``.

    Parameters
    ----------
    out_dir: directory to create; a kit that exists there is replaced in one step, any other
        directory with something in it is refused.
    key: what clients will ask the tracker for, by default the board's name.

    Raises :class:`UsageError` for ``out_dir``, :class:`CompileError` where it cannot be built or
    written, :class:`EnvironmentFault` where a tool or a library is missing.
    """
    target, key = Path(out_dir).absolute(), key or board.name
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", key):
        raise UsageError(f"{key!r} cannot be a key", fix="use letters, digits, dots and dashes")
    refuse_foreign(target, "board kit", _is_kit)
    program, libraries = server_program(board.arch), runtime_libraries(board.arch)
    with replaced(target, "kit") as staging:
        shutil.copy(program, staging / SERVER)
        (staging / "lib").mkdir()
        for name in NAMES:
            shutil.copy(libraries / name, staging / "lib" / name)
        return _describe(staging, target, board, key)


def _is_kit(target: Path) -> bool:
    try:
        return f'"{FORMAT}"' in (target / DESCRIPTION).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _describe(staging: Path, target: Path, board: Board, key: str) -> Kit:
    """Every file that depends on the board: service, installer, README, description."""
    binaries = [staging / SERVER, *(staging / "lib" / name for name in NAMES)]
    glibc = max(filter(None, map(needed_glibc, binaries)), key=version_key)
    _fill_templates(staging, _values(board, key, glibc))
    (staging / "install.sh").chmod(0o755)
    files = {
        str(path.relative_to(staging)): fingerprint(path)
        for path in sorted(staging.rglob("*"))
        if path.is_file()
    }
    document = {"format": FORMAT, "board": board.name, "key": key, "arch": board.arch,
                "glibc": glibc, "cores": list(board.cores), "threads": board.threads,
                "files": files}  # fmt: skip
    (staging / DESCRIPTION).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    notes = []
    if version_key(glibc) > version_key(board.glibc_floor):
        notes.append(f"needs glibc {glibc}; {board.name} is said to have {board.glibc_floor}")
    size = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
    return Kit(target, board.name, key, board.arch, glibc, size, tuple(notes))


def _values(board: Board, key: str, glibc: str) -> dict[str, str]:
    cores = ",".join(map(str, board.cores))
    options = f"--key {key} --port 9090 --cores {cores} --threads {board.threads} "
    options += f"--session-limit {SESSION_LIMIT_S}"
    return {
        "BOARD": board.name,
        "TITLE": board.title,
        "ARCH": board.arch,
        "GLIBC": glibc,
        "KEY": key,
        "CORES": cores,
        "THREADS": str(board.threads),
        "OPTIONS": options,
        "TVM": metadata.version("apache-tvm"),
        "FFI": metadata.version("apache-tvm-ffi"),
    }


def _fill_templates(staging: Path, values: dict[str, str]) -> None:
    for template in sorted(package_file("boards", "kit_files").iterdir()):
        made = staging / template.name.removesuffix(".in")
        made.write_text(filled(template, values), encoding="utf-8")
