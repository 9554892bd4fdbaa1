"""The one list of system packages: what each is for, and which of them this machine lacks.

``make system-packages`` reads the same file. This module imports neither TVM nor torch.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

#: How to get all of them in a checkout, on Debian and Ubuntu.
COMMAND = "make system-packages"


@dataclass(frozen=True)
class SystemPackage:
    """One Debian package. ``probe``: a program on PATH or the absolute path of a file that shows
    it is there. ``uses``: what needs it, see :func:`lacking`. ``why``: one line for people."""

    name: str
    probe: str
    uses: tuple[str, ...]
    why: str

    @property
    def present(self) -> bool:
        """Whether the probe is found; asked anew each time, as PATH may change."""
        if self.probe.startswith("/"):
            return Path(self.probe).exists()
        return shutil.which(self.probe) is not None


@cache
def system_packages() -> tuple[SystemPackage, ...]:
    """Every package of the list, in its order."""
    text = (resources.files("tvm_flow") / "data/system-packages.txt").read_text(encoding="utf-8")
    rows = (line.split(maxsplit=3) for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        SystemPackage(name, probe, tuple(uses.split(",")), why) for name, probe, uses, why in rows
    )


def packages_to(use: str) -> tuple[SystemPackage, ...]:
    """The packages one needs to ``emulate`` boards, to ``model`` kernels of boards, to build the
    examples that ``embed`` a bundle, or to run those for ``musl``.

    Raises :class:`ValueError` for a use the list does not know.
    """
    found = tuple(package for package in system_packages() if use in package.uses)
    if not found:
        raise ValueError(f"no system package is listed as used to {use!r}")
    return found


def lacking(use: str) -> list[str]:
    """Names of the packages for ``use`` (see :func:`packages_to`) that this machine lacks."""
    return [package.name for package in packages_to(use) if not package.present]
