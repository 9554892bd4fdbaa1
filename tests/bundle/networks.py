"""A small network as the passes would hand it over, and its result computed by NumPy."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tvm import relax
from tvm.relax import transform
from tvm.target import Target

from tests.bundle.arrays import CHANNELS, SHAPE, reference, sample, weight
from tvm_flow import targets
from tvm_flow.bundle.write import write_bundle
from tvm_flow.ir.lowered import KernelInfo, Lowered, TensorInfo
from tvm_flow.runtime import manifest, verify

CONV_MACS = CHANNELS * 3 * 9 * 16 * 16


def in_threads(count: int, work: Callable[[], None]) -> None:
    """``work`` in so many threads at once: all end within a minute, and none of them failed."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def lowered(board_name: str = "native") -> Lowered:
    board = targets.load(board_name)
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(SHAPE, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.conv2d(x, relax.const(weight()), padding=1))
            y = builder.emit(relax.op.nn.relu(y))
            y = builder.emit_output(relax.op.mean(y, [2, 3]))
        builder.emit_func_output(y)
    with Target(board.tvm_target()):
        module = transform.LegalizeOps()(builder.get())
    conv = KernelInfo(
        symbol="conv2d",
        problem="conv2d(ci=3,co=8,h=16,k=3,w=16)",
        algorithm="direct",
        knobs={"mt": 4},
        source="default",
        record_sha=None,
        label=None,
        modules=("stem.conv",),
        macs=CONV_MACS,
        bytes=4 * (3 * 256 + 8 * 256 + 8 * 27),
    )
    return Lowered(
        mod=module,
        board=board,
        model_name="tiny",
        inputs=[TensorInfo("x", SHAPE, "float32")],
        outputs=[TensorInfo("logits", (1, CHANNELS), "float32")],
        kernels=[conv],
    )


def write(path: Path, board: str = "native", **options: Any) -> Path:
    x = sample()
    return write_bundle(lowered(board), path, sample_input=x, expected=[reference(x)], **options)


def reseal(directory: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """Make a changed bundle consistent again: all hashes, and the manifest after ``change``."""
    data = json.loads((directory / manifest.NAME).read_text())
    for name, entry in data["files"].items():
        entry.update(verify.fingerprint(directory / name))
    change(data)
    (directory / manifest.NAME).write_text(manifest.seal(data))
