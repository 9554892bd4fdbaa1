"""What the compiler was thinking: the graph after each pass, every kernel's TIR and assembly."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tvm import tirx

from tvm_flow.support.errors import UsageError
from tvm_flow.support.publish import refuse_foreign

if TYPE_CHECKING:
    from tvm_flow.backends import Backend
    from tvm_flow.ir.graph import Graph
    from tvm_flow.ir.lowered import Lowered


FIRST, KERNELS = "00-imported.txt", "kernels"


def is_dump(folder: Path) -> bool:
    """Whether a folder holds what :class:`Dump` writes, and nothing else."""
    names = {entry.name for entry in folder.iterdir()} - {KERNELS}
    return FIRST in names and all(re.fullmatch(r"\d\d-\w+\.txt", name) for name in names)


class Dump:
    """Files in ``folder``: ``00-imported.txt``, ``01-simplify.txt`` ... are the graph after the
    phase of that name, one node per line; ``kernels/NAME.tir.py`` and ``kernels/NAME.s`` are what
    is generated and what LLVM makes of it, for each kernel of the network. What an earlier
    compilation wrote there is deleted first.

    Raises :class:`UsageError` where ``folder`` holds anything else, or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._phases = folder, 0
        refuse_foreign(folder, "dump", is_dump, "--dump")
        try:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
        except OSError as error:
            raise UsageError(
                f"Cannot write to {folder}", why=str(error), fix="name another folder with --dump"
            ) from error

    def graph(self, phase: str, graph: Graph) -> None:
        """Write the graph that a phase left behind."""
        self._write(f"{self._phases:02}-{phase}.txt", graph.text() + "\n")
        self._phases += 1

    def kernels(self, lowered: Lowered, backend: Backend) -> None:
        """Write TIR and assembly of every kernel, those no algorithm of ours made too."""
        for var, func in lowered.mod.functions.items():
            if isinstance(func, tirx.PrimFunc):
                name = str(var.name_hint)
                named = func.with_attr("global_symbol", name)
                self._write(f"{KERNELS}/{name}.tir.py", named.script() + "\n")
                compiled = backend.compile_kernel(named, lowered.board)
                self._write(f"{KERNELS}/{name}.s", compiled.mod.inspect_source("s"))

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"Cannot write {path}", why=str(error), fix="name another folder with --dump"
            ) from error
