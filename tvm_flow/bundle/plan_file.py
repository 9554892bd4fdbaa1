"""``plan.bin``: everything the runtime must know to run a network, as docs/bundle-format.md has it.

The reader is ``runtime/c/plan.c``, which trusts nothing in it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_flow.ir.lowered import TensorInfo
from tvm_flow.ir.picture import PictureRecipe
from tvm_flow.ir.plan import Plan, PlannedTensor, Step

NAME = "plan.bin"
MAGIC, SCHEMA = b"TVMFPLAN", 3
_DEVICE_CPU = 1
_KERNEL, _COPY = 0, 1
#: DLPack's type codes by NumPy's letters.
_TYPES = {"i": 0, "u": 1, "f": 2, "b": 6}


@dataclass(frozen=True)
class FileStamp:
    """Size in bytes and checksum (XXH64, seed 0) of a file of the bundle."""

    size: int
    checksum: int


@dataclass(frozen=True)
class PlanHeader:
    """What stands before the steps: the network, and the machine it is for.

    ``features``: LLVM's names of the instructions that the CPU must have. ``threads`` worker
    threads on ``cores``. ``alignment``: bytes, of memory bound to inputs and outputs.
    ``tolerance``: of the check of the sample.
    """

    model: str
    board: str
    version: str
    elf_machine: int
    features: tuple[str, ...]
    threads: int
    cores: tuple[int, ...]
    alignment: int
    code: FileStamp
    weights: FileStamp
    tolerance: float


def plan_bytes(
    header: PlanHeader,
    plan: Plan,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    *,
    layout: str,
    pictures: Sequence[tuple[int, PictureRecipe]] = (),
    labels: Sequence[str] = (),
    checksum: Callable[[bytes], int],
) -> bytes:
    """The content of the file. ``layout`` is that of inputs and outputs with four dimensions;
    ``pictures``: which input takes pictures, and how."""
    body = b"".join(
        [
            _header(header),
            _numbers([_DEVICE_CPU]),
            _u32(len(plan.kernels)),
            *(_text(kernel.symbol) + _u32(0) for kernel in plan.kernels),
            _u32(1),
            _set(plan, inputs, outputs, layout),
            _u32(len(pictures)),
            *(_picture(number, recipe) for number, recipe in pictures),
            _u32(len(labels)),
            *map(_text, labels),
        ]
    )
    size = len(MAGIC) + struct.calcsize("<IIQQ") + len(body)
    return MAGIC + struct.pack("<IIQQ", SCHEMA, 0, size, checksum(body)) + body


def _header(header: PlanHeader) -> bytes:
    code, weights = header.code, header.weights
    return b"".join(
        [
            *map(_text, (header.model, header.board, header.version)),
            _u32(header.elf_machine),
            _u32(len(header.features)),
            *map(_text, header.features),
            _u32(header.threads),
            _numbers(header.cores),
            _u32(header.alignment),
            struct.pack("<4Q", code.size, code.checksum, weights.size, weights.checksum),
            struct.pack("<d", header.tolerance),
        ]
    )


def _set(
    plan: Plan, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], layout: str
) -> bytes:
    ports = [*zip(inputs, plan.inputs, strict=True), *zip(outputs, plan.outputs, strict=True)]
    return b"".join(
        [
            struct.pack("<QII", plan.arena, len(inputs), len(outputs)),
            _u32(len(plan.tensors)),
            *map(_tensor, plan.tensors),
            *(
                _text(info.name) + _text(layout if len(info.shape) == 4 else "") + _u32(tensor)
                for info, tensor in ports
            ),
            _u32(len(plan.steps)),
            *map(_step, plan.steps),
        ]
    )


def _tensor(tensor: PlannedTensor) -> bytes:
    dtype = np.dtype(tensor.dtype)
    head = struct.pack("<4B", tensor.place, 0, _TYPES[dtype.kind], 8 * dtype.itemsize)
    shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return head + shape + struct.pack("<Q", tensor.offset)


def _step(step: Step) -> bytes:
    kind = _COPY if step.kernel is None else _KERNEL
    no_grid = [1] * 6 + [0]  # of a GPU: blocks, threads of a block, bytes they share
    return struct.pack("<2BI7I", kind, 0, step.kernel or 0, *no_grid) + _numbers(step.arguments)


def _picture(number: int, recipe: PictureRecipe) -> bytes:
    mean, std = (_four(values) for values in (recipe.mean, recipe.std))
    return struct.pack(
        "<5I9f", number, recipe.resize, recipe.width, recipe.height, recipe.order == "bgr",
        recipe.range, *mean, *std,
    )  # fmt: skip


def _four(values: Sequence[float]) -> list[float]:
    return [*values, *[values[-1]] * 4][:4]


def _numbers(values: Iterable[int]) -> bytes:
    given = list(values)
    return struct.pack(f"<I{len(given)}I", len(given), *given)


def _text(text: str) -> bytes:
    encoded = text.replace("\0", "").encode()
    return _u32(len(encoded)) + encoded


def _u32(number: int) -> bytes:
    return struct.pack("<I", number)
