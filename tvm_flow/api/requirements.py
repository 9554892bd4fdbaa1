"""What the installed distribution asks for, and the commands that put it in place.

From the metadata that pip installed, also for an editable installation of a checkout; nothing here
reads the project's own files but the locks of a checkout, which have the exact versions.
"""

from __future__ import annotations

import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_flow.support.resources import checkout

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

NAME = "tvm-flow"


def requirements() -> dict[str, SpecifierSet]:
    """Package -> versions accepted, without those of extras. Empty where tvm-flow is not installed
    (a bare copy of the source). Raises ``ImportError`` without the package ``packaging``."""
    from packaging.requirements import Requirement  # noqa: PLC0415 - may be what is missing

    try:
        lines = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        return {}
    wanted = [Requirement(line) for line in lines]
    return {
        r.name: r.specifier for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})
    }


def shown(specifier: SpecifierSet) -> str:
    """``0.27.0.post1`` for an exact version, else the range, its lower bound first."""
    parts = sorted(map(str, specifier), key=lambda part: (part.startswith("<"), part))
    if len(parts) == 1 and parts[0].startswith("=="):
        return parts[0].removeprefix("==")
    return ",".join(parts) or "any version"


def install_command(*names: str) -> str:
    """The command that puts accepted versions in place and touches nothing else: exactly those of
    the lock in a checkout that has one for this Python, else what the metadata accepts."""
    try:
        accepted = requirements()
    except ImportError:
        accepted = {}
    locked = _locked(checkout())
    wanted = []
    for name in names:
        specifier = str(accepted.get(name, ""))
        exact = f"=={locked[name]}" if name in locked else ""
        wanted.append(shlex.quote(name + (specifier if "==" in specifier else exact or specifier)))
    return f"{sys.executable} -m pip install --force-reinstall --no-deps {' '.join(wanted)}"


def _locked(root: Path | None) -> dict[str, str]:
    """Package -> version of the checkout's locks for this Python."""
    if root is None:
        return {}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    files = (root / "requirements" / name for name in (f"lock-{version}.txt", "lock-no-deps.txt"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.is_file())
    return dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", text, re.M))
