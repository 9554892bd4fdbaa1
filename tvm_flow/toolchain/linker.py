"""Object files to shared libraries, native and cross, and C++ to programs.

TVM emits AArch64 objects by itself, so a cross build needs only a linker. The wheel ``ziglang``
carries LLVM's ``ld.lld`` for every architecture (and clang with the C libraries of every
glibc version), so neither root nor a distribution package is needed. Fallbacks: an explicit path,
``ld.lld``, the cross or native gcc.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from tvm_flow.support.errors import CompileError, EnvironmentFault
from tvm_flow.support.user_folders import cache_root
from tvm_flow.toolchain.elf import elf_arch

#: What to install where it is missing: the version of the locks.
ZIG_PIN = "ziglang==0.17.1"
LINK_TIMEOUT_S = 120
# The first C++ build on a machine also builds libc++ for the target: about a minute on two cores.
CPP_TIMEOUT_S = 900

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Linker:
    """A linker for one architecture. Itself the ``fcompile`` of TVM's ``export_library``.

    ``command``: the program and its leading arguments; it must take ``-shared -o OUT OBJECTS``,
    as both linkers and compiler drivers do.
    """

    arch: str
    command: tuple[str, ...]
    output_format: ClassVar[str] = "so"

    def link_shared(
        self, objects: Sequence[PathLike], output: PathLike, options: Sequence[str] = ()
    ) -> Path:
        """Link ``objects`` into the shared library ``output``, replacing it in one step.

        Raises :class:`CompileError` with the linker's first message, or if the result is for
        another architecture than :attr:`arch`; ``output`` is then left as it was.
        """
        with replacing(Path(output)) as temporary:
            arguments = ["-shared", "-s", "-o", str(temporary), *options, *map(str, objects)]
            run_tool([*self.command, *arguments], f"Linking {Path(output).name}", LINK_TIMEOUT_S)
            made = elf_arch(temporary)
            if made != self.arch:
                raise CompileError(
                    f"Linking {Path(output).name} gave a library for {made}, not {self.arch}",
                    why="the objects were compiled for another target",
                    fix="compile for the target the linker was chosen for",
                )
        return Path(output)

    @property
    def fcompile(self) -> Linker:
        """For ``export_library(path, fcompile=linker.fcompile)``."""
        return self

    def __call__(
        self, output: str, objects: str | Sequence[str], options: Sequence[str] | None = None
    ) -> None:
        files = [objects] if isinstance(objects, str) else objects
        self.link_shared(files, output, options or ())

    def get_target_triple(self) -> str:
        return f"{self.arch}-linux-gnu"


def find_linker(arch: str, explicit: PathLike | None = None) -> Linker:
    """A linker for ``arch`` (``x86_64`` or ``aarch64``).

    In this order: ``explicit`` (a program name or path), the wheel ``ziglang``, ``ld.lld``, the
    architecture's gcc or ld, and for this machine's own architecture gcc or cc. Raises
    :class:`EnvironmentFault` if there is none.
    """
    if explicit is not None:
        found = shutil.which(explicit)
        if found is None:
            raise EnvironmentFault(
                f"Linker {str(explicit)!r} not found",
                why="it is neither in PATH nor an executable file",
                fix="give the path of a linker, or leave it out to use the one of ziglang",
            )
        return Linker(arch, (found,))
    if has_zig():
        return Linker(arch, (zig(), "ld.lld"))
    candidates = ["ld.lld", f"{arch}-linux-gnu-gcc", f"{arch}-linux-gnu-ld"]
    if arch == platform.machine():
        candidates += ["gcc", "cc"]
    for name in candidates:
        if found := shutil.which(name):
            return Linker(arch, (found,))
    raise EnvironmentFault(
        f"No linker for {arch}",
        why=f"neither the package ziglang nor one of {', '.join(candidates)} is installed",
        fix=f"python -m pip install {ZIG_PIN}",
    )


def has_zig() -> bool:
    """Whether the wheel with linker and C++ compiler is installed."""
    return importlib.util.find_spec("ziglang") is not None


def zig_version() -> str:
    """Of the installed wheel, ``"none"`` without one: part of the names of what is cached."""
    try:
        return metadata.version("ziglang")
    except metadata.PackageNotFoundError:
        return "none"


def zig() -> str:
    """The wheel's program itself: ``python -m ziglang`` only starts it, for which a tuner would
    wait with every candidate (decision 0018). Requires :func:`has_zig`."""
    spec = importlib.util.find_spec("ziglang")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).with_name("zig"))


def build_cpp(
    sources: Sequence[PathLike],
    output: PathLike,
    *,
    arch: str,
    glibc: str,
    include_dirs: Sequence[PathLike] = (),
    lib_dirs: Sequence[PathLike] = (),
    libs: Sequence[str] = (),
    rpath: str | None = None,
    flags: Sequence[str] = (),
) -> Path:
    """Compile C++17 ``sources`` to the program ``output``, native or cross.

    The result runs on every Linux of ``arch`` with at least this ``glibc`` (``"2.28"``); libc++ is
    linked statically. ``libs`` are names as after ``-l``; ``rpath`` may contain ``$ORIGIN``;
    ``flags`` are added as they are (``-shared -fPIC`` makes a library).
    Raises :class:`EnvironmentFault` without the package ziglang, :class:`CompileError` with the
    compiler's first error.
    """
    if not has_zig():
        raise EnvironmentFault(
            f"No C++ compiler for {arch}",
            why="the package ziglang is not installed",
            fix=f"python -m pip install {ZIG_PIN}",
        )
    with replacing(Path(output)) as temporary:
        command = [zig(), "c++", "-target", f"{arch}-linux-gnu.{glibc}", "-O2", "-std=c++17", "-s"]
        command += [*flags, *(f"-I{folder}" for folder in include_dirs)]
        command += [*map(str, sources), "-o", str(temporary)]
        command += [f"-L{folder}" for folder in lib_dirs]
        if libs:
            # TVM's libraries register their functions while loading: keep them though unreferenced.
            command += ["-Wl,--no-as-needed", *(f"-l{name}" for name in libs)]
        if rpath:
            command.append(f"-Wl,-rpath,{rpath}")
        run_tool(command, f"Compiling {Path(output).name}", CPP_TIMEOUT_S, zig_environment())
    return Path(output)


def zig_environment() -> dict[str, str]:
    """zig's caches in the user's cache folder, not in the working directory."""
    base = str(cache_root() / "zig")
    caches = {"ZIG_LOCAL_CACHE_DIR": base, "ZIG_GLOBAL_CACHE_DIR": base}
    return {**caches, **os.environ}


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """A temporary file beside ``output`` that takes its place if the block succeeds."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.", suffix=".tmp")
    except OSError as error:
        raise CompileError(
            f"Cannot write {output}", why=error.strerror or "", fix="choose a writable folder"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def run_tool(
    command: list[str], task: str, timeout_s: int, environment: dict[str, str] | None = None
) -> None:
    """Run a tool; its first complaint becomes the cause of a :class:`CompileError`."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(f"{task} failed", why=str(error), fix="tvm-flow doctor") from error
    if done.returncode == -signal.SIGINT:  # the terminal tells every process of the job
        raise KeyboardInterrupt
    if done.returncode:
        raise CompileError(f"{task} failed", why=_first_complaint(done), fix="tvm-flow doctor")


def _first_complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The first line that says error, else the first line, of what the tool printed."""
    lines = [line for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    errors = (line for line in lines if "error" in line.lower())
    return next(errors, lines[0] if lines else f"exit status {done.returncode}")
