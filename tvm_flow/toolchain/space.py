"""Whether there is space on a disk for what is about to be written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tvm_flow.support.errors import CompileError

_CODE_BYTES = 16 * 2**20  # far above the object files and libraries without weights seen so far


def require_space(folder: Path, weights: int) -> None:
    """Raise :class:`CompileError` unless ``folder`` and the temporary folder have space for a
    library of kernels and ``weights`` bytes. LLVM aborts the whole process where it cannot write
    an object file, so somebody has to look before."""
    needed = weights + _CODE_BYTES
    for place in (Path(tempfile.gettempdir()), folder):
        free = shutil.disk_usage(place).free
        if free < needed:
            raise CompileError(
                f"not enough space in {place}",
                why=f"{free / 2**20:.0f} MiB are free, compiling needs {needed / 2**20:.0f} MiB",
                fix="free some space, or set TMPDIR and --output to another disk",
            )
