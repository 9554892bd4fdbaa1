"""A compiled network as one file: for programs that want a single library, and for TVM's users."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tvm_flow.bundle.plan_file import NAME as PLAN
from tvm_flow.bundle.write import WEIGHTS, Array, BundleOptions, Prove, fill_bundle
from tvm_flow.codegen.library import write_objects
from tvm_flow.codegen.vm_executable import compile_executable, export_executable
from tvm_flow.ir.lowered import Lowered
from tvm_flow.support.elf_header import NotElf, machine_of
from tvm_flow.support.errors import CompileError, UsageError
from tvm_flow.support.publish import beside
from tvm_flow.toolchain.c_compiler import link_library
from tvm_flow.toolchain.runtime_library import EXPORTS, library_sources, sources, version_flag

#: Called with what was written and a bundle with its sample, before it appears.
Accept = Callable[[Path, Path], None]

_EMBED = """
    .section .rodata
    .hidden tvmf_embedded_{name}
    .hidden tvmf_embedded_{name}_end
    .global tvmf_embedded_{name}
    .global tvmf_embedded_{name}_end
    .balign 4096
tvmf_embedded_{name}:
    .incbin "{path}"
tvmf_embedded_{name}_end:
    .byte 0
"""
_NO_STACK = '    .section .note.GNU-stack,"",%progbits\n'


def write_single_file(
    lowered: Lowered,
    path: Path,
    *,
    sample: Sequence[Array],
    expected: Sequence[Array],
    options: BundleOptions,
    accept: Accept | None = None,
    prove: Prove | None = None,
) -> Path:
    """A shared library with code, plan and weights inside, which exports libtvm_flow's interface
    (``tvmf_load(NULL, ...)``). Raises as :func:`tvm_flow.bundle.write.write_bundle`."""
    require_library_place(path)
    libc = options.libc or lowered.board.glibc_floor
    with _beside(path) as folder:
        bundle = folder / "bundle"
        bundle.mkdir()
        built = fill_bundle(bundle, lowered, sample, expected, options, prove)
        embedded = folder / "embedded.S"
        parts = {"plan": bundle / PLAN, "weights": bundle / WEIGHTS}
        text = "".join(_EMBED.format(name=part, path=file) for part, file in parts.items())
        embedded.write_text(text + _NO_STACK, encoding="utf-8")
        made = link_library(
            [*write_objects(built, folder), *library_sources(), embedded],
            folder / path.name,
            arch=lowered.board.arch,
            libc=libc,
            exports=EXPORTS,
            flags=[f"-I{sources()}", "-DTVMF_EMBEDDED", version_flag()],
        )
        _publish(made, path, bundle, accept)
    return path


def write_tvm_library(
    lowered: Lowered,
    path: Path,
    *,
    sample: Sequence[Array],
    expected: Sequence[Array],
    options: BundleOptions,
    accept: Accept | None = None,
    prove: Prove | None = None,
) -> Path:
    """A library for ``tvm.runtime.load_module`` and ``relax.VirtualMachine``: ``main`` takes the
    inputs. Raises as :func:`tvm_flow.bundle.write.write_bundle`."""
    require_library_place(path)
    with _beside(path) as folder:
        bundle = folder / "bundle"
        bundle.mkdir()
        fill_bundle(bundle, lowered, sample, expected, options, prove)
        made = folder / path.name
        export_executable(compile_executable(lowered), made, lowered.board)
        _publish(made, path, bundle, accept)
    return path


def require_library_place(path: Path) -> None:
    """Raise :class:`UsageError` where a library would take the place of something else, or has a
    name that neither TVM nor a dynamic linker takes for one."""
    if path.is_dir():
        raise UsageError(
            f"{path} is a directory", why="a single file is to be written", fix=f"-o {path}.so"
        )
    if path.suffix != ".so":
        raise UsageError(f"{path} does not end in .so", fix=f"-o {path}.so")
    try:
        if path.exists():
            machine_of(path)
    except NotElf:
        raise UsageError(
            f"{path} exists and is not a library",
            why="writing there would delete what is in it",
            fix="choose another --output",
        ) from None


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A folder beside ``path``, so that the result is moved in one step. Raises
    :class:`CompileError` for an ``OSError``."""
    try:
        with beside(path) as folder:
            yield folder
    except OSError as error:
        cause = error.strerror or str(error)
        raise CompileError(
            f"cannot write {path}", why=cause, fix="choose another --output"
        ) from error


def _publish(made: Path, path: Path, bundle: Path, accept: Accept | None) -> None:
    if accept is not None:
        accept(made, bundle)
    made.chmod(0o644)
    made.replace(path)
