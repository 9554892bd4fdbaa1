"""No file that a model is read from makes the program fail in a way of its own: it is read, or
refused in a sentence that names it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tvm_flow.frontend.inputs import read_sample
from tvm_flow.frontend.model import load
from tvm_flow.frontend.weights import apply_weights
from tvm_flow.support.errors import TvmFlowError

SEEDS = 60


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2)).eval()


def checkpoint() -> bytes:
    made = io.BytesIO()
    torch.save(network().state_dict(), made)
    return made.getvalue()


def old_checkpoint() -> bytes:
    made = io.BytesIO()
    torch.save(network().state_dict(), made, _use_new_zipfile_serialization=False)
    return made.getvalue()


def safetensors() -> bytes:
    from safetensors.torch import save  # noqa: PLC0415

    return save(network().state_dict())


def program() -> bytes:
    made = io.BytesIO()
    torch.export.save(torch.export.export(network(), (torch.zeros(1, 2, 4, 4),)), made)
    return made.getvalue()


def onnx_model() -> bytes:
    def value(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"]), helper.make_node("Relu", ["y"], ["z"])],
        "net", [value("x", 1, 2, 4, 4)], [value("z", 1, 3, 2, 2)],
        [numpy_helper.from_array(np.ones((3, 2, 3, 3), np.float32), "w")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def array() -> bytes:
    made = io.BytesIO()
    np.save(made, np.arange(12.0).reshape(3, 4))
    return made.getvalue()


def arrays() -> bytes:
    made = io.BytesIO()
    np.savez(made, x=np.arange(3), y=np.ones((2, 2)))
    return made.getvalue()


READERS: dict[str, tuple[Callable[[], bytes], Callable[[Path], object]]] = {
    "weights.pth": (checkpoint, lambda path: apply_weights(network(), str(path))),
    "old.pt": (old_checkpoint, lambda path: apply_weights(network(), str(path))),
    "w.safetensors": (safetensors, lambda path: apply_weights(network(), str(path))),
    "model.pt2": (program, lambda path: load(str(path))),
    "model.onnx": (onnx_model, lambda path: load(str(path))),
    "x.npy": (array, read_sample),
    "x.npz": (arrays, read_sample),
}


ALIKE = [{"weights.pth", "old.pt"}, {"x.npy", "x.npz"}]


def damaged(content: bytes, seed: int) -> bytes:
    """Cut off, or with some bytes changed, near the start or the end as often as not: that is
    where headers and tables are."""
    rng = np.random.default_rng(seed)
    if seed % 5 == 0:
        return content[: rng.integers(0, len(content))]
    data = np.frombuffer(content, np.uint8).copy()
    near = rng.integers(0, min(400, len(data)), rng.integers(1, 4))
    where = [near, len(data) - 1 - near, rng.integers(0, len(data), len(near))][seed % 3]
    data[where] = rng.integers(0, 256, len(where))
    return data.tobytes()


@pytest.mark.parametrize("name", READERS)
def test_damaged(tmp_path: Path, name: str) -> None:
    make, read = READERS[name]
    content, told = make(), list[TvmFlowError]()
    path = tmp_path / name
    path.write_bytes(content)
    read(path)
    slow = 4 if name == "model.pt2" else 1
    for seed in range(SEEDS // slow):
        path.write_bytes(damaged(content, seed))
        try:
            read(path)
        except TvmFlowError as error:
            told.append(error)
    refused = len(told)
    assert all(error.fix and "\n" not in str(error) for error in told)
    assert refused > SEEDS // slow // 4


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({0: torch.ones(1)}, "not a state dict"),
        ({"state_dict": {("a", 1): torch.ones(1)}}, "not a state dict"),
        ([torch.ones(1)], "not a state dict"),
        (torch.ones(1), "not a state dict"),
    ],
    ids=["integer keys", "tuples", "list", "tensor"],
)
def test_checkpoints_of_other_things(tmp_path: Path, value: object, says: str) -> None:
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(TvmFlowError, match=says):
        apply_weights(network(), str(tmp_path / "w.pth"))


@pytest.mark.parametrize("name", READERS)
def test_other_content(tmp_path: Path, name: str) -> None:
    """Nothing, text, a folder; what the name says of one kind is another's content."""
    path = tmp_path / name
    alike = next((kinds for kinds in ALIKE if name in kinds), {name})
    others = [make() for other, (make, _) in READERS.items() if other not in alike]
    for content in (b"", b"\0" * 64, b"hello\n", *others):
        path.write_bytes(content)
        with pytest.raises(TvmFlowError):
            READERS[name][1](path)
    path.unlink()
    path.mkdir()
    with pytest.raises(TvmFlowError):
        READERS[name][1](path)
