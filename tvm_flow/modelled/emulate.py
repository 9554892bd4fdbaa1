"""Run one kernel under QEMU on given arguments: what it computes, and what it executes."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvm_flow.modelled.cores import CoreModel
from tvm_flow.modelled.tools import Tools
from tvm_flow.modelled.trace import Trace, read_trace
from tvm_flow.tuning.worker.trial_data import Guarded

_ALIGNMENT = 64  # of every argument's memory in the file, as driver.cc expects
_DLPACK = {"i": 0, "u": 1, "f": 2}  # DLPack's type codes by NumPy's


class EmulationFailed(Exception):
    """The kernel did not end well; ``status`` is one of :mod:`tvm_flow.tuning.records.record`."""

    def __init__(self, status: str, cause: str) -> None:
        super().__init__(cause)
        self.status = status


def emulate(
    library: str,
    buffers: Sequence[Guarded],
    shapes: Sequence[Sequence[int]],
    *,
    model: CoreModel,
    tools: Tools,
    folder: Path,
    timeout_s: float,
) -> Trace:
    """Call the candidate in ``library`` once; ``buffers`` then hold what it left in memory.

    Raises :class:`EmulationFailed`.
    """
    arguments, trace = folder / "arguments.bin", folder / "trace.txt"
    trace.unlink(missing_ok=True)
    arguments.write_bytes(_encode(buffers, shapes))
    core = model.core
    memory = f"l1={model.l1_bytes}:{core.l1_ways},l2={model.l2_bytes}:{core.l2_ways}"
    plugin = f"{tools.plugin},out={trace},{memory},widest={core.widest}"
    command = [tools.qemu, "-cpu", core.emulated, "-plugin", plugin]
    if tools.sysroot:
        command += ["-L", tools.sysroot]
    command += [tools.driver, library, str(arguments)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise EmulationFailed("timeout", f"emulation took more than {timeout_s:g} s") from None
    if done.returncode:
        raise EmulationFailed(*_failure(done))
    _decode(arguments.read_bytes(), buffers, shapes)
    try:
        return read_trace(trace)
    except (OSError, ValueError) as error:
        raise EmulationFailed("run_error", f"no trace of the kernel: {error}") from error


def _failure(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    said = next((line for line in done.stderr.splitlines() if line.strip()), "")
    if done.returncode < 0 or done.returncode >= 128:
        return "crashed", said or f"ended with exit status {done.returncode}"
    return "run_error", said or f"exit status {done.returncode}"


def _encode(buffers: Sequence[Guarded], shapes: Sequence[Sequence[int]]) -> bytes:
    """The file of arguments, as described in driver.cc."""
    head = [len(buffers)]
    for buffer, shape in zip(buffers, shapes, strict=True):
        zone, dtype = buffer.zone, buffer.array.dtype
        element = (_DLPACK[dtype.kind], 8 * dtype.itemsize)
        head += [len(shape), *shape, *element, zone.nbytes, buffer.lead]
    data = bytearray(np.array(head, np.uint64).tobytes())
    for buffer in buffers:
        data += bytes(-len(data) % _ALIGNMENT)
        data += buffer.zone.tobytes()
    return bytes(data)


def _decode(data: bytes, buffers: Sequence[Guarded], shapes: Sequence[Sequence[int]]) -> None:
    """Copy the memories of the file back into ``buffers``."""
    at = 8 * (1 + sum(5 + len(shape) for shape in shapes))
    for buffer in buffers:
        at += -at % _ALIGNMENT
        zone = buffer.zone
        zone[...] = np.frombuffer(data, np.uint8, zone.nbytes, at)
        at += zone.nbytes
