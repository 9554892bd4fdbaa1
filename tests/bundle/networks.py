"""A small network as the passes would hand it over, and its result computed by NumPy."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tvm import relax
from tvm.relax import transform
from tvm.target import Target

from tests.bundle.arrays import CHANNELS, SHAPE, reference, sample, weight
from tvm_flow import targets
from tvm_flow.bundle.plan_file import NAME as PLAN
from tvm_flow.bundle.write import BundleOptions, write_bundle
from tvm_flow.ir.lowered import KernelInfo, Lowered, TensorInfo
from tvm_flow.support import manifest
from tvm_flow.toolchain.checksum import checksum

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


def write(
    path: Path,
    board: str = "native",
    accept: Callable[[Path, Path], None] | None = None,
    **options: Any,
) -> Path:
    x = sample()
    return write_bundle(
        lowered(board), path, sample=[x], expected=[reference(x)],
        options=BundleOptions(**options), accept=accept,
    )  # fmt: skip


def replace_in_plan(directory: Path, old: bytes, new: bytes) -> None:
    """Change the plan and make it consistent again. ``old`` must occur once."""
    path = directory / PLAN
    plan = path.read_bytes()
    assert plan.count(old) == 1
    body = plan[32:].replace(old, new)
    path.write_bytes(plan[:16] + struct.pack("<QQ", 32 + len(body), checksum(body)) + body)


def reseal(directory: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """Make a changed bundle consistent again: checksums of code and weights in the plan, hashes of
    all files in the manifest, and the manifest after ``change``."""
    data = json.loads((directory / manifest.NAME).read_text())
    _restamp(directory)
    for name, entry in data["files"].items():
        entry.update(manifest.fingerprint(directory / name))
    change(data)
    (directory / manifest.NAME).write_text(manifest.seal(data))


def _restamp(directory: Path) -> None:
    """The plan has size and checksum of two files, one after the other, before the tolerance."""
    path = directory / PLAN
    body = path.read_bytes()[32:]
    at = body.index(struct.pack("<d", 1e-4)) - 32
    stamps = b""
    for name in ("model.so", "weights.bin"):
        content = (directory / name).read_bytes()
        stamps += struct.pack("<QQ", len(content), checksum(content))
    body = body[:at] + stamps + body[at + 32 :]
    head = path.read_bytes()[:16]
    path.write_bytes(head + struct.pack("<QQ", 32 + len(body), checksum(body)) + body)
