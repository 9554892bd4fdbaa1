"""The thread pool that is linked into libraries with parallel loops; see ``thread_pool.c``."""

from __future__ import annotations

import hashlib

from tvm_flow.support.resources import package_file
from tvm_flow.support.user_folders import cache_root
from tvm_flow.toolchain.linker import compile_c, has_zig, zig_version


def thread_pool_objects(arch: str, glibc: str, threads: int) -> list[str]:
    """Object files to link into a library for ``threads`` threads: none for a single one.

    Compiled once per architecture and kept in the user's cache. Without the wheel ziglang there is
    no C compiler to rely on: the library then uses TVM's own pool. Raises :class:`CompileError`.
    """
    if threads < 2 or not has_zig():
        return []
    source = package_file("toolchain", "thread_pool.c")
    digest = hashlib.sha256(f"{zig_version()} {arch} {glibc}".encode() + source.read_bytes())
    path = cache_root() / f"pool-{arch}-{digest.hexdigest()[:16]}.o"
    if not path.exists():
        compile_c(source, path, arch=arch, glibc=glibc)
    return [str(path)]
