"""C to object files, libraries and programs, native and cross."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from tvm_flow.support.errors import EnvironmentFault
from tvm_flow.toolchain.linker import (
    LINK_TIMEOUT_S,
    ZIG_PIN,
    PathLike,
    has_zig,
    replacing,
    run_tool,
    zig,
    zig_environment,
)

MUSL = "musl"
C_FLAGS = (
    "-O2",
    "-g0",
    "-std=gnu11",
    "-ffp-contract=off",  # pictures are the same bit for bit on every architecture
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Werror",
)
#: By default zig links all of musl into a program, which can then load no library.
MUSL_PROGRAM_FLAGS = ("-dynamic",)
#: zig's debug instrumentation would need a library of its own.
_ZIG_FLAGS = ("-fno-sanitize=undefined",)
#: What the C library is split into; newer versions of it have all in one, and these names still.
_LIBRARIES = ("-lpthread", "-ldl", "-lm")


def c_compiler(arch: str, libc: str) -> list[str]:
    """The command that compiles for ``arch`` and ``libc``: the oldest version of glibc that the
    result has to run with (``"2.28"``), or ``"musl"``.

    It is the one of the wheel ziglang; without that, this machine's own for its own architecture,
    and then its version of glibc counts. Raises :class:`EnvironmentFault`.
    """
    if has_zig():
        system = f"linux-{MUSL}" if libc == MUSL else f"linux-gnu.{libc}"
        return [zig(), "cc", "-target", f"{arch}-{system}", *_ZIG_FLAGS]
    own = next(filter(None, map(shutil.which, ("gcc", "cc"))), None)
    if own is None or arch != platform.machine() or libc == MUSL:
        raise EnvironmentFault(
            f"No C compiler for {arch}",
            why="the package ziglang is not installed",
            fix=f"python -m pip install {ZIG_PIN}",
        )
    return [own]


def compile_object(
    source: PathLike, output: PathLike, *, arch: str, libc: str, flags: Sequence[str] = ()
) -> Path:
    """Compile a C11 source to a position-independent object file, whose functions are visible
    outside of the library they end in only where they say so.

    Raises :class:`EnvironmentFault` without a compiler and :class:`CompileError` with its first
    error.
    """
    with replacing(Path(output)) as temporary:
        command = [*c_compiler(arch, libc), *C_FLAGS, *flags, "-c", str(source)]
        _run([*command, "-o", str(temporary)], f"Compiling {Path(source).name}")
    return Path(output)


def link_library(
    files: Sequence[PathLike],
    output: PathLike,
    *,
    arch: str,
    libc: str,
    exports: str,
    flags: Sequence[str] = (),
) -> Path:
    """Link object files and C sources into the shared library ``output``, replacing it in one step.

    ``exports``: pattern of the symbols that others may see (``"tvmf_*"``). Everything else is bound
    within the library: two libraries with kernels of the same name do not meet. Raises as
    :func:`compile_object`.
    """
    with replacing(Path(output)) as temporary:
        script = temporary.with_name(f"{temporary.name}.map")
        try:
            script.write_text(f"{{ global: {exports}; local: *; }};\n", encoding="ascii")
            command = [*c_compiler(arch, libc), *C_FLAGS, *flags, "-shared", "-s", *map(str, files)]
            command += [f"-Wl,--version-script={script}", "-Wl,-Bsymbolic", "-Wl,-z,defs"]
            command += ["-o", str(temporary), *_LIBRARIES]
            _run(command, f"Linking {Path(output).name}")
        finally:
            script.unlink(missing_ok=True)
    return Path(output)


def link_program(
    files: Sequence[PathLike], output: PathLike, *, arch: str, libc: str, flags: Sequence[str] = ()
) -> Path:
    """Link object files, archives and C sources into the program ``output``. Raises as
    :func:`compile_object`."""
    with replacing(Path(output)) as temporary:
        command = [*c_compiler(arch, libc), *C_FLAGS, *flags, "-s", *map(str, files)]
        if libc == MUSL:
            command += MUSL_PROGRAM_FLAGS
        _run([*command, "-o", str(temporary), *_LIBRARIES], f"Linking {Path(output).name}")
    return Path(output)


def make_archive(objects: Sequence[PathLike], output: PathLike) -> Path:
    """Put object files into the static library ``output``. Raises as :func:`compile_object`."""
    archiver = [zig(), "ar"] if has_zig() else ["ar"]
    path = Path(output)
    path.unlink(missing_ok=True)  # it would be added to
    _run([*archiver, "rcsD", str(path), *map(str, objects)], f"Packing {path.name}")
    return path


def _run(command: list[str], task: str) -> None:
    run_tool(command, task, LINK_TIMEOUT_S, zig_environment())
