"""libtvm_flow and the program on top of it, built per architecture and C library, and kept in the
user's cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tvm_flow.support.cache import cached_folder
from tvm_flow.support.resources import package_file
from tvm_flow.support.version import __version__
from tvm_flow.toolchain.c_compiler import (
    C_FLAGS,
    MUSL_PROGRAM_FLAGS,
    compile_object,
    link_library,
    link_program,
    make_archive,
)
from tvm_flow.toolchain.linker import zig_version

SHARED, STATIC, RUNNER, HEADER = "libtvm_flow.so", "libtvm_flow.a", "runner", "tvm_flow.h"
#: Symbols of the library's interface.
EXPORTS = "tvmf_*"
#: Its sources are not the library's.
_PROGRAM_SOURCES = "runner*.c"


def sources() -> Path:
    """The folder of the library's C sources and headers."""
    return package_file("runtime", "c")


def library_sources() -> list[Path]:
    """The C files of the library itself."""
    return sorted({*sources().glob("*.c")} - {*program_sources()})


def program_sources() -> list[Path]:
    """The C files of the program on top of it."""
    return sorted(sources().glob(_PROGRAM_SOURCES))


def version_flag() -> str:
    return f'-DTVM_FLOW_VERSION="{__version__}"'


def runtime_library(arch: str, libc: str) -> Path:
    """The folder with :data:`SHARED`, :data:`STATIC` and :data:`RUNNER` for ``arch`` and ``libc``
    (see :func:`tvm_flow.toolchain.c_compiler.c_compiler`).

    The first call for each takes some seconds. Raises :class:`EnvironmentFault` and
    :class:`CompileError`.
    """

    def fill(folder: Path) -> None:
        objects = [
            compile_object(
                source, folder / f"{source.stem}.o", arch=arch, libc=libc, flags=[version_flag()]
            )
            for source in library_sources()
        ]
        make_archive(objects, folder / STATIC)
        link_library(
            objects, folder / SHARED, arch=arch, libc=libc, exports=EXPORTS,
            flags=[f"-Wl,-soname,{SHARED}"],
        )  # fmt: skip
        program = [*program_sources(), folder / STATIC]
        link_program(program, folder / RUNNER, arch=arch, libc=libc)
        for path in objects:
            path.unlink()

    return cached_folder(f"programs/runtime-{arch}-{libc}-{_digest(arch, libc)}", fill)


def _digest(*settings: str) -> str:
    flags = (C_FLAGS, MUSL_PROGRAM_FLAGS)
    digest = hashlib.sha256(repr([zig_version(), __version__, flags, *settings]).encode())
    for path in sorted([*sources().glob("*.c"), *sources().glob("*.h")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
