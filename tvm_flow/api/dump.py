"""What the compiler was thinking: the graph after each pass, every kernel's TIR and assembly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tvm import tirx

from tvm_flow.support.errors import UsageError

if TYPE_CHECKING:
    from tvm_flow.backends import Backend
    from tvm_flow.ir.graph import Graph
    from tvm_flow.ir.lowered import Lowered


class Dump:
    """Files in ``folder``: ``00-imported.txt``, ``01-simplify.txt`` ... are the graph after the
    phase of that name, one node per line; ``kernels/NAME.tir.py`` and ``kernels/NAME.s`` are what
    is generated and what LLVM makes of it, for each kernel of the network.

    Raises :class:`UsageError` where ``folder`` is no folder, holds something, or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._phases = folder, 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UsageError(
                    f"{folder} is not empty",
                    why="files of another compilation would stay between those of this one",
                    fix="name a new folder with --dump",
                )
        except OSError as error:
            raise UsageError(
                f"Cannot write to {folder}", why=str(error), fix="name another folder with --dump"
            ) from error

    def graph(self, phase: str, graph: Graph) -> None:
        """Write the graph that a phase left behind."""
        self._write(f"{self._phases:02}-{phase}.txt", graph.text() + "\n")
        self._phases += 1

    def kernels(self, lowered: Lowered, backend: Backend) -> None:
        """Write TIR and assembly of every kernel, those without an algorithm of their own too."""
        for var, func in lowered.mod.functions.items():
            if isinstance(func, tirx.PrimFunc):
                name = str(var.name_hint)
                named = func.with_attr("global_symbol", name)
                self._write(f"kernels/{name}.tir.py", named.script() + "\n")
                compiled = backend.compile_kernel(named, lowered.board)
                self._write(f"kernels/{name}.s", compiled.mod.inspect_source("s"))

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"Cannot write {path}", why=str(error), fix="name another folder with --dump"
            ) from error
