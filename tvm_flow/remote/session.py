"""In a worker: one session on a board, over TVM's RPC.

Calls wait as long as the board takes: this belongs into a process that somebody ends at a deadline.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import rpc

from tvm_flow.support import ctrl_c as _ctrl_c  # noqa: F401 - for its effect

Array = NDArray[Any]
_TRIPLE = "target.llvm_get_system_triple"
_WORKPATH = "tvm.rpc.server.workpath"


class SessionLost(Exception):
    """The connection broke: board, network, or what ran there died."""


class SessionExpired(Exception):
    """The board ended the session because it took longer than was allowed."""


class BoardSession:
    """A board that is ours until :meth:`close` or, by the board's own clock, ``limit_s`` seconds.

    With TVM's stock server :attr:`ours` is false: it tells nothing of its health, and calls cannot
    take copies of the weights in turn.
    """

    def __init__(self, host: str, port: int, match_key: str, limit_s: float) -> None:
        self._session: Any = rpc.connect(host, port, match_key, session_timeout=limit_s)
        self._device = self._session.cpu()
        self._functions: dict[str, Any] = {}
        self._modules: dict[str, Any] = {}
        self.ours = self._has("tvm_flow.board.status")

    def status(self) -> dict[str, Any]:
        """What the board tells of itself; see the server's ``health.cc``. Empty if not ours."""
        if not self.ours:
            return {}
        told = json.loads(self._function("tvm_flow.board.status")())
        assert isinstance(told, dict)
        return told

    def arch(self) -> str:
        """As ``uname -m`` has it; empty where it cannot be known. TVM's stock server is asked for
        what its LLVM compiles for, if it has one."""
        if self.ours:
            return str(self.status()["arch"])
        if not self._has(_TRIPLE):
            return ""
        arch = str(self._function(_TRIPLE)()).partition("-")[0]
        return {"arm64": "aarch64"}.get(arch, arch)

    def upload(self, file: Path, name: str) -> None:
        self.upload_bytes(file.read_bytes(), name)

    def upload_bytes(self, content: bytes, name: str) -> None:
        self._session.upload(bytearray(content), name)

    def download(self, name: str) -> bytes:
        """A file of the session's folder."""
        return bytes(self._session.download(name))

    def path(self, name: str) -> str:
        """Where a file of the session's folder is on the board: its absolute path."""
        return str(self._function(_WORKPATH)(name))

    def load(self, name: str) -> None:
        """Load an uploaded library. Raises ``RuntimeError`` with the board's linker's words."""
        if self.ours:
            self._function("tvm_flow.board.load")(name)
        else:
            self._modules[name] = self._session.load_module(name)

    def module(self, name: str) -> Any:
        """An uploaded library as a remote module."""
        return self._session.load_module(name)

    def tensor(self, values: Array) -> Any:
        """A copy on the board."""
        return tvm.runtime.tensor(np.ascontiguousarray(values), device=self._device)

    def empty(self, shape: Sequence[int], dtype: str) -> Any:
        """Memory on the board, with any content."""
        return tvm.runtime.empty(tuple(shape), dtype, self._device)

    def copy(self, tensor: Any) -> Any:
        """Another copy on the board, of a tensor that is there."""
        return tensor.copyto(self.empty(tensor.shape, tensor.dtype))

    def run(self, library: str, symbol: str, arguments: Sequence[Any]) -> None:
        """Call a function of a loaded library once."""
        if self.ours:
            self._function("tvm_flow.board.run")(library, symbol, *arguments)
        else:
            self._modules[library][symbol](*arguments)

    def time(self, library: str, symbol: str, number: int, sets: Sequence[Sequence[Any]]) -> float:
        """Mean seconds of ``number`` calls, timed on the board; they take ``sets`` in turn."""
        if self.ours:
            flat = [argument for chosen in sets for argument in chosen]
            timer = self._function("tvm_flow.board.time")
            return float(timer(library, symbol, number, len(sets), len(sets[0]), *flat))
        evaluator = self._modules[library].time_evaluator(symbol, self._device, number, 1)
        return float(evaluator(*sets[0]).results[0])

    def execute(self, argv: Sequence[str], timeout_s: float) -> dict[str, Any]:
        """Run a program in the session's folder on the board: ``code``, ``stdout``, ``stderr``,
        ``timed_out``."""
        order = {"argv": list(argv), "timeout_s": timeout_s, "cwd_is_workdir": True}
        told = json.loads(self._function("tvm_flow.board.exec")(json.dumps(order)))
        assert isinstance(told, dict)
        return told

    def failure(self, error: Exception) -> Exception:
        """What ``error``, raised by one of these calls, means: itself where the session lives."""
        if "TimeoutError" in str(error) or "session expired" in str(error):
            return SessionExpired(str(error))
        try:
            self._session.get_function(_WORKPATH)("")
        except Exception:  # whatever TVM makes of a dead socket
            return SessionLost(str(error))
        return error

    def _has(self, name: str) -> bool:
        try:
            return self._function(name) is not None
        except (AttributeError, RuntimeError, ValueError):
            return False

    def _function(self, name: str) -> Any:
        if name not in self._functions:
            self._functions[name] = self._session.get_function(name)
        return self._functions[name]
