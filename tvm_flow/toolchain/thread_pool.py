"""The pool of libtvm_flow, linked into kernels with parallel loops that TVM loads."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tvm_flow.support.cache import cached_folder
from tvm_flow.support.resources import package_file
from tvm_flow.toolchain.c_compiler import compile_object
from tvm_flow.toolchain.linker import has_zig, zig_version
from tvm_flow.toolchain.runtime_library import sources


def thread_pool_objects(arch: str, glibc: str, threads: int) -> list[str]:
    """Object files to link into a library for ``threads`` threads: none for a single one.

    Compiled once per architecture and kept in the user's cache. Without the wheel ziglang there is
    no C compiler to rely on: the library then uses TVM's own pool. Raises :class:`CompileError`.
    """
    if threads < 2 or not has_zig():
        return []
    files = [package_file("toolchain", "kernel_pool.c"), sources() / "pool.c"]
    headers = [sources() / "pool.h", sources() / "module.h"]
    digest = hashlib.sha256(f"{zig_version()} {arch} {glibc}".encode())
    for path in (*files, *headers):
        digest.update(path.read_bytes())

    def fill(folder: Path) -> None:
        for source in files:
            made = folder / f"{source.stem}.o"
            compile_object(source, made, arch=arch, libc=glibc, flags=[f"-I{sources()}"])

    folder = cached_folder(f"pool-{arch}-{digest.hexdigest()[:16]}", fill)
    return [str(folder / f"{source.stem}.o") for source in files]
