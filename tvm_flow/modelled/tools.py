"""The programs the model needs: QEMU's user-mode emulator, LLVM's analyser, and our two helpers."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from tvm_flow.support.errors import EnvironmentFault
from tvm_flow.support.resources import package_file
from tvm_flow.support.user_folders import cache_root
from tvm_flow.toolchain.linker import build_cpp, zig_version

#: LLVM 17 is the first with models of Neoverse N1 and Zen 4 (Debian 12 offers 19).
_LLVM = range(22, 16, -1)
#: The last QEMU with plugin API 1 alone is 7.2 (Debian 12); 8.2 changed how code is read.
_QEMU_MAJOR = (6, 8)
#: As the other programs for boards are built for, so that zig builds libc++ once for all of them.
_GLIBC = "2.27"
_DRIVER_FLAGS = ("-rdynamic",)
_PLUGIN_FLAGS = ("-shared", "-fPIC")
#: C library of another architecture, as Debian's cross packages install it.
_SYSROOTS = {"aarch64": Path("/usr/aarch64-linux-gnu")}
PACKAGES = {
    "qemu": "qemu-user",
    "llvm": "llvm-19",
    "libc": "libc6-arm64-cross",
}


@dataclass(frozen=True)
class Tools:
    """Paths of everything; ``sysroot`` is empty where the emulated machine is of our own kind."""

    qemu: str
    disassembler: str
    analyser: str
    sysroot: str
    driver: str
    plugin: str


def find_tools(arch: str) -> Tools:
    """All tools to model kernels of ``arch``, the helpers built if this is the first time.

    Raises :class:`EnvironmentFault` naming the Debian package that is missing.
    """
    qemu = _qemu(arch)
    disassembler, analyser = _llvm()
    sysroot = _sysroot(arch)
    driver, plugin = build_helpers(arch)
    return Tools(qemu, disassembler, analyser, sysroot, str(driver), str(plugin))


def _missing(what: str, why: str, package: str) -> EnvironmentFault:
    return EnvironmentFault(what, why=why, fix=f"apt-get install {PACKAGES[package]}")


def _qemu(arch: str) -> str:
    found = shutil.which(f"qemu-{arch}")
    if found is None:
        raise _missing("Kernels cannot be modelled here", f"qemu-{arch} is not installed", "qemu")
    version = _version(found)
    if not _QEMU_MAJOR[0] <= version < _QEMU_MAJOR[1]:
        raise EnvironmentFault(
            "Kernels cannot be modelled here",
            why=f"{found} is version {version}; its plugin interface is known for 6 and 7",
            fix="put Debian 12's qemu-user (7.2) first in PATH",
        )
    return found


@cache
def _version(program: str) -> int:
    try:
        text = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"version (\d+)", text)
    return int(match[1]) if match else 0


def _llvm() -> tuple[str, str]:
    for version in _LLVM:
        disassembler, analyser = (
            shutil.which(f"{name}-{version}") for name in ("llvm-mc", "llvm-mca")
        )
        if disassembler and analyser:
            return disassembler, analyser
    raise _missing(
        "Kernels cannot be modelled here", "llvm-mca of LLVM 17 or newer is not installed", "llvm"
    )


def _sysroot(arch: str) -> str:
    if arch == platform.machine():
        return ""
    folder = _SYSROOTS.get(arch, Path("/nonexistent"))
    if not (folder / "lib" / "libc.so.6").exists():
        raise _missing(
            "Kernels cannot be modelled here", f"there is no C library for {arch}", "libc"
        )
    return str(folder)


def build_helpers(arch: str) -> tuple[Path, Path]:
    """The driver for ``arch`` and the plugin for this machine, from the user's cache."""
    headers = f"tvm_ffi {metadata.version('apache-tvm-ffi')}"
    driver = _cached("driver", arch, "", (*_DRIVER_FLAGS, headers))
    if not driver.exists():
        build_cpp(
            [package_file("modelled", "driver.cc")], driver, arch=arch, glibc=_GLIBC,
            include_dirs=[_ffi_headers()], flags=_DRIVER_FLAGS,
        )  # fmt: skip
    plugin = _cached("plugin", platform.machine(), ".so", _PLUGIN_FLAGS)
    if not plugin.exists():
        build_cpp(
            [package_file("modelled", "plugin.cc")], plugin, arch=platform.machine(), glibc=_GLIBC,
            flags=_PLUGIN_FLAGS,
        )  # fmt: skip
    return driver, plugin


def _ffi_headers() -> Path:
    """C headers of TVM's foreign function interface, which come with its wheel."""
    found = importlib.util.find_spec("tvm_ffi")
    if found is None or found.origin is None:
        raise EnvironmentFault(
            "The headers of apache-tvm-ffi are missing",
            why="it is not installed",
            fix="tvm-flow doctor",
        )
    return Path(found.origin).parent / "include"


def _cached(name: str, arch: str, suffix: str, settings: Sequence[str]) -> Path:
    """Where a helper is kept: one file per version of its source, compiler and settings."""
    digest = hashlib.sha256(repr([zig_version(), _GLIBC, *settings]).encode())
    digest.update(package_file("modelled", f"{name}.cc").read_bytes())
    return cache_root() / "modelled" / f"{name}-{arch}-{digest.hexdigest()[:16]}{suffix}"
