"""The Python package of bundles as a wheel, for boards that run many of them."""

from __future__ import annotations

import base64
import hashlib
import tempfile
import zipfile
from pathlib import Path

from tvm_flow.boards.deploy import add_python
from tvm_flow.support.errors import CompileError
from tvm_flow.support.version import __version__
from tvm_flow.targets import Board
from tvm_flow.toolchain.c_compiler import MUSL
from tvm_flow.toolchain.elf import needed_glibc, version_key
from tvm_flow.toolchain.runtime_library import SHARED, runtime_library

NAME = "tvm_flow_runtime"
_METADATA = f"""Metadata-Version: 2.1
Name: tvm-flow-runtime
Version: {__version__}
Summary: Runs networks that tvm-flow compiled
License: Apache-2.0
Requires-Python: >=3.6
"""
#: PEP 600; what all of manylinux2014 has.
_MANYLINUX2014 = "2.17"
_MUSLLINUX = "musllinux_1_2"


def write_runtime_wheel(board: Board, folder: Path, libc: str | None = None) -> Path:
    """Write ``tvm_flow_runtime-VERSION-py3-none-PLATFORM.whl`` for ``board`` into ``folder``, which
    is made where there is none; ``libc`` as for bundles. An older one of the name is replaced.

    It has the package ``tvm_flow`` with :func:`tvm_flow.load` and the library, for any Python from
    3.6 on. Raises :class:`EnvironmentFault` and :class:`CompileError`.
    """
    built = runtime_library(board.arch, libc or board.glibc_floor) / SHARED
    tags = _platforms(built, board.arch, libc)
    path = folder / f"{NAME}-{__version__}-py3-none-{'.'.join(tags)}.whl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{NAME}.", dir=folder) as name:
            root = Path(name) / "root"
            add_python(root)
            content = built.read_bytes()
            (root / "tvm_flow" / "runtime" / SHARED).write_bytes(content)
            made = Path(name) / path.name
            _pack(root, made, tags)
            made.replace(path)
    except OSError as error:
        raise CompileError(
            f"cannot write {path}", why=error.strerror or str(error), fix="choose another --output"
        ) from error
    return path


def _platforms(library: Path, arch: str, libc: str | None) -> list[str]:
    """Tags of the wheel; pip of the oldest boards knows only the last one."""
    if libc == MUSL:
        return [f"{_MUSLLINUX}_{arch}"]
    needed = max(needed_glibc(library) or _MANYLINUX2014, _MANYLINUX2014, key=version_key)
    tags = [f"manylinux_{needed.replace('.', '_')}_{arch}", f"linux_{arch}"]
    return [f"manylinux2014_{arch}", *tags] if needed == _MANYLINUX2014 else tags


def _pack(root: Path, path: Path, tags: list[str]) -> None:
    info = f"{NAME}-{__version__}.dist-info"
    wheel = "Wheel-Version: 1.0\nGenerator: tvm-flow\nRoot-Is-Purelib: false\n"
    wheel += "".join(f"Tag: py3-none-{tag}\n" for tag in tags)
    files = {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }
    files |= {f"{info}/METADATA": _METADATA.encode(), f"{info}/WHEEL": wheel.encode()}
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            # a fixed date: the same sources make the same wheel
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)


def _digest(data: bytes) -> str:
    """As RECORD has it (PEP 376, PEP 427)."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
