"""Systems for AArch64 without a board: Debian's packages unpacked into folders, and their programs
run there by proot and QEMU.

They are made once per machine, in the user's cache. Nothing is installed on this machine.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tvm_flow.support.cache import cached_folder
from tvm_flow.support.user_folders import cache_root

ARCH = "aarch64"
EMULATED = platform.machine() != ARCH
#: Below the cache; a number to count up when what is made there changes.
FOLDER = "userlands/1"
NUMPY, MUSL, BUSYBOX = "python3-numpy", "musl", "busybox-static"
#: Program -> Debian's package that has it.
PROGRAMS = {"debootstrap": "debootstrap", "proot": "proot", "qemu-aarch64": "qemu-user",
            "dpkg-deb": "dpkg"}  # fmt: skip
KEYS = "debian-archive-keyring"
DOWNLOAD_TIMEOUT_S, RUN_TIMEOUT_S = 1800, 300
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Release:
    """A release of Debian, and what must be found in it."""

    name: str
    glibc: str
    python: str


@dataclass(frozen=True)
class Userland:
    """A system in the folder ``root``. It sees the folder ``shared`` under its name here: proot
    before 5.3 lets some calls (``faccessat2``) pass with the path as it is inside."""

    root: Path
    shared: Path

    def __call__(self, *command: str | Path, code: int = 0) -> Done:
        """Run a command there, in the folder ``shared``; it must end with ``code``."""
        done = self.run(*command)
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, *command: str | Path) -> Done:
        enter: list[str | Path] = [program("proot"), "-r", self.root, "-w", self.shared]
        if EMULATED:
            enter += ["-q", program("qemu-aarch64")]
        for folder in ("/proc", "/sys", "/dev", self.shared):
            enter += ["-b", folder]
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
                 "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip


def program(name: str) -> str:
    """Its path; also of those that only root has in PATH. Skips the test where there is none."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        packages = " ".join([*PROGRAMS.values(), KEYS])
        pytest.skip(f"NO USERLANDS: no {name} here. To run this: sudo apt-get install {packages}")
    return found


def userlands(release: Release) -> Path:
    """The folder with the systems of ``release``: ``plain``, with Python and without NumPy;
    ``numpy``, with both; ``musl``, which has that and BusyBox, and nothing of glibc, as Alpine.

    Skips the test where programs are missing or packages cannot be fetched.
    """

    def make(folder: Path) -> None:
        for name in PROGRAMS:
            program(name)
        _unpack(folder, _download(release.name, downloads))
        shutil.rmtree(downloads)

    name = f"{FOLDER}/{release.name}"
    downloads = cache_root() / f"{name}.downloads"
    downloads.parent.mkdir(parents=True, exist_ok=True)
    with downloads.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once would download into the same folder
        return cached_folder(name, make)


def _download(release: str, folder: Path) -> dict[str, Path]:
    """Package -> its file. What an earlier, broken download has brought is not fetched again;
    debootstrap checks signatures and sums."""
    # debootstrap insists on root, although nothing it does here needs it
    as_root = [] if os.geteuid() == 0 else [program("proot"), "-0"]
    command = [
        *as_root, program("debootstrap"), "--download-only", "--force-check-gpg",
        "--variant=minbase", "--arch=arm64", f"--include={NUMPY},{MUSL},{BUSYBOX}", release,
        str(folder),
    ]  # fmt: skip
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=DOWNLOAD_TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.startswith("E:")] or ["?"]
        pytest.skip(f"NO USERLANDS: Debian's packages cannot be fetched ({said[-1]}). To run this: "
                    f"connect to the network, sudo apt-get install {KEYS}")  # fmt: skip
    files = folder.glob("var/cache/apt/archives/*.deb")
    return {path.name.split("_")[0]: path for path in sorted(files)}


def _unpack(folder: Path, packages: dict[str, Path]) -> None:
    own = {name for name in packages if name.startswith(NUMPY) or name in (MUSL, BUSYBOX)}
    plain, numpy, musl = (folder / name for name in ("plain", "numpy", "musl"))
    _extract([path for name, path in packages.items() if name not in own], plain)
    shutil.copytree(plain, numpy, symlinks=True, copy_function=os.link)
    _extract([packages[name] for name in own - {MUSL, BUSYBOX}], numpy)
    libraries = numpy / "usr" / "lib" / f"{ARCH}-linux-gnu"
    for name in ("blas", "lapack"):  # what update-alternatives does when they are installed
        (libraries / f"lib{name}.so.3").symlink_to(f"{name}/lib{name}.so.3")
    _extract([packages[MUSL], packages[BUSYBOX]], musl)
    for name in ("bin", "lib"):  # newer packages have everything below usr
        if not (musl / name).exists():
            (musl / name).symlink_to(f"usr/{name}")
    applets = Userland(musl, folder)("/bin/busybox", "--list").stdout.split()
    for name in set(applets) - {"busybox"}:
        (musl / "bin" / name).symlink_to("busybox")


def _extract(packages: Sequence[Path], root: Path) -> None:
    for name in ("proc", "sys", "dev", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for package in packages:
        subprocess.run([program("dpkg-deb"), "-x", package, root], check=True)
