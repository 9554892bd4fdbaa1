"""Build the C++ programs of boards, once per architecture, and keep them in the user's cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import tvm_ffi

from tvm_flow.boards.libraries import LIBRARIES, runtime_libraries
from tvm_flow.support.cache import cached_folder
from tvm_flow.support.resources import package_file
from tvm_flow.toolchain.elf import version_key
from tvm_flow.toolchain.linker import build_cpp, zig_version

SERVER = "board_server"
#: The oldest C library of a supported board (JetPack 4), and what TVM's runtime libraries need.
#: One program for this one runs on all of them.
GLIBC = "2.27"

#: Without these a program exports its own ``tvm::ffi::Error``, and TVM's libraries, which are
#: linked with another C++ library, use that for theirs: the first error thrown is a crash.
FLAGS = ("-fvisibility=hidden", "-DTVM_FFI_DLL=")


def server_program(arch: str) -> Path:
    """The RPC server for ``arch``: a program with ``lib/`` beside it, ready to start there.

    The first call takes up to two minutes on two cores, the following ones nothing. Raises
    :class:`EnvironmentFault` and :class:`CompileError`.
    """
    folder = package_file("boards", "server")
    sources = [*sorted(folder.glob("*.cc")), *sorted(folder.glob("*.h"))]
    return board_program(SERVER, sources, arch, GLIBC)


def board_program(name: str, sources: Sequence[Path], arch: str, glibc: str) -> Path:
    """A C++ program on TVM's runtime, from the cache where the same was built before.

    ``sources``: ``.cc`` files and the headers they include. ``glibc``: it runs with this version
    (``"2.27"``) or a newer one. The result has TVM's libraries in ``lib/`` beside it (a link).
    Raises :class:`EnvironmentFault` and :class:`CompileError`.
    """
    libraries = runtime_libraries(arch)
    floor = min(glibc, GLIBC, key=version_key)

    def fill(folder: Path) -> None:
        build_cpp(
            [path for path in sources if path.suffix == ".cc"],
            folder / name,
            arch=arch,
            glibc=floor,
            include_dirs=[
                Path(tvm_ffi.__file__).parent / "include",
                *{path.parent for path in sources},
            ],
            lib_dirs=[libraries],
            libs=["tvm_runtime", "tvm_ffi"],
            rpath="$ORIGIN/lib",
            flags=FLAGS,
        )
        (folder / "lib").symlink_to(libraries)

    key = _digest(sources, arch, floor, *FLAGS)
    return cached_folder(f"programs/{name}-{arch}-{key}", fill) / name


def _digest(sources: Sequence[Path], *settings: str) -> str:
    versions = [metadata.version(package) for package in LIBRARIES]
    digest = hashlib.sha256(repr([zig_version(), *versions, *settings]).encode())
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
