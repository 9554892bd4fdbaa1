"""A bundle on a board, run by libtvm_flow there: the library that TVM's RPC loads, and its user."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.remote.session import BoardSession
from tvm_flow.support import manifest
from tvm_flow.support.cache import cached_folder
from tvm_flow.support.resources import package_file
from tvm_flow.toolchain.c_compiler import link_library
from tvm_flow.toolchain.runtime_library import STATIC, runtime_library, sources

Array = NDArray[Any]
LIBRARY = "board_bundle.so"
#: What of a bundle a run needs.
_FILES = ("plan.bin", "weights.bin", "model.so")
_EXPORTS = "__tvm_ffi_*"
_WARM_UP = 3
_SENTENCE_BYTES = 1024  # of libtvm_flow's last error


class BundleRefused(Exception):
    """libtvm_flow on the board refused something: its ``status``, and its sentence as text."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def board_library(arch: str, libc: str) -> Path:
    """libtvm_flow with functions that TVM's RPC can call (``board_bundle.c``), for a board of
    ``arch`` with at least this glibc (``"2.28"``).

    Built once and kept in the user's cache. Raises :class:`EnvironmentFault` and
    :class:`CompileError`.
    """
    runtime, source = runtime_library(arch, libc), package_file("remote", "board_bundle.c")
    digest = hashlib.sha256(f"{runtime.name} {_EXPORTS}".encode() + source.read_bytes())

    def fill(folder: Path) -> None:
        link_library(
            [source, runtime / STATIC], folder / LIBRARY, arch=arch, libc=libc, exports=_EXPORTS,
            flags=[f"-I{sources()}"],
        )  # fmt: skip

    name = f"programs/board_bundle-{arch}-{libc}-{digest.hexdigest()[:16]}"
    return cached_folder(name, fill) / LIBRARY


class BoardBundle:
    """A bundle's network in a session, of which there is one per session.

    ``library``: see :func:`board_library`. It runs with ``threads`` on the first of ``cores``.
    Raises :class:`BundleRefused`, also from its methods, and what the session raises.
    """

    def __init__(
        self, session: BoardSession, folder: Path, library: Path, threads: int, cores: Sequence[int]
    ) -> None:
        for name in _FILES:
            session.upload(folder / name, name)
        session.upload(library, LIBRARY)
        self._session, self._outputs = session, manifest.read(folder).outputs
        self._module: Any = session.module(LIBRARY)
        self._call("open", str(PurePosixPath(session.path("."))), threads, *cores)

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for one array per input."""
        for index, values in enumerate(inputs):
            self._call("set_input", index, self._session.tensor(values))
        self._call("run")
        results = []
        for index, spec in enumerate(self._outputs):
            result = self._session.empty(spec.shape, spec.dtype)
            self._call("get_output", index, result)
            results.append(result.numpy())
        return results

    def times(self, runs: int) -> list[float]:
        """Seconds of single runs on the last input after a few to warm up, by the board's clock."""
        nanoseconds = self._session.empty((runs,), "uint64")
        self._call("time", _WARM_UP, nanoseconds)
        return [1e-9 * int(value) for value in nanoseconds.numpy()]

    def _call(self, name: str, *arguments: Any) -> None:
        status = int(self._module[name](*arguments))
        if status:
            sentence = self._session.empty((_SENTENCE_BYTES,), "uint8")
            self._module["last_error"](sentence)
            words = np.asarray(sentence.numpy()).tobytes().partition(b"\0")[0]
            raise BundleRefused(status, words.decode(errors="replace"))
