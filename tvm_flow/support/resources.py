"""Where the package's own files are, and whether this is a checkout.

The package is a folder on disk, as pip installs it: compilers, boards and other processes take
paths. It is not run from inside a zip file.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from tvm_flow.support.errors import EnvironmentFault


def package_file(*parts: str) -> Path:
    """A file or folder inside ``tvm_flow``: ``package_file("boards", "checks.sh")``.

    Raises :class:`EnvironmentFault` where the installation lacks it.
    """
    path = Path(str(files("tvm_flow").joinpath(*parts)))
    if not path.exists():
        raise EnvironmentFault(
            f"The installation of tvm-flow is incomplete: there is no {path}",
            why="the package was built or copied without its data files",
            fix="install it again: python -m pip install --force-reinstall --no-deps tvm-flow",
        )
    return path


def checkout() -> Path | None:
    """The root of the checkout that ``tvm_flow`` is imported from, ``None`` for an installed one
    (an unpacked source distribution is none either: its records are inside the package)."""
    root = package_file().parent
    marks = (root / "pyproject.toml", root / "tuning_logs")
    return root if all(mark.exists() for mark in marks) else None
