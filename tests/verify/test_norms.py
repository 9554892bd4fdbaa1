"""Normalisation takes the mean off first: constants, large means and large axes come out right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from tests.frontend.graph_eval import evaluate
from tests.frontend.test_frontend_onnx import graph_file
from tests.verify.networks import imported
from tvm_flow.frontend.export import to_graph
from tvm_flow.frontend.model import load
from tvm_flow.verify.evaluate import Evaluator

IMAGE = (2, 6, 40, 37)
NORMS: dict[str, nn.Module] = {
    "group": nn.GroupNorm(2, 6),
    "group without weights": nn.GroupNorm(3, 6, affine=False),
    "instance": nn.InstanceNorm2d(6, affine=True),
    "layer": nn.LayerNorm(IMAGE[1:]),
    "rows": nn.LayerNorm(37),
}
rng = np.random.default_rng(0)
NOISE = rng.standard_normal(IMAGE, np.float32)
INPUTS: dict[str, np.ndarray] = {
    "constant": np.full(IMAGE, 255, np.float32),
    "large mean": 1000 + NOISE,
    "larger mean": 30000 + NOISE,
    "small": 1e-3 * NOISE,
}


@pytest.mark.parametrize("name", NORMS)
def test_norm(name: str) -> None:
    module = NORMS[name].eval()
    for key, parameter in module.named_parameters():
        value = rng.standard_normal(parameter.shape, np.float32) * 0.1 + (key == "weight")
        parameter.data = torch.from_numpy(value)
    evaluator = Evaluator(imported(module, IMAGE).graph)
    for kind, x in INPUTS.items():
        with torch.no_grad():
            exact = module.double()(torch.from_numpy(x).double()).numpy()
            eager = module.float()(torch.from_numpy(x)).numpy()
        error = np.abs(evaluator.run([torch.from_numpy(x)])[0].numpy() - exact).max()
        assert error <= 1e-5 + 1e-6 * x.max() + 2 * np.abs(eager - exact).max(), kind


def _onnx(path: Path, node: onnx.NodeProto, weights: dict[str, np.ndarray],
          x: np.ndarray, opset: int = 17) -> np.ndarray:  # fmt: skip
    model = load(graph_file(path / "m.onnx", [node], weights, x.shape, opset=opset))
    (expected,), (found,) = model.run(x), evaluate(to_graph(model), x)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    return found


def test_mean_variance_of_a_large_mean(tmp_path: Path) -> None:
    node = helper.make_node("MeanVarianceNormalization", ["x"], ["y"])
    x = INPUTS["large mean"]
    double = x.astype(np.float64)
    axes = {"axis": (0, 2, 3), "keepdims": True}
    exact = (double - double.mean(**axes)) / double.std(**axes)
    model = load(graph_file(tmp_path / "m.onnx", [node], {}, x.shape))
    assert np.abs(evaluate(to_graph(model), x)[0] - exact).max() < 1e-3


PARAMETERS = {
    name: rng.uniform(0.5, 2, 6).astype(np.float32) for name in ("scale", "bias", "mean", "var")
}


def test_batch_norm_in_training_mode_takes_the_batch(tmp_path: Path) -> None:
    node = helper.make_node(
        "BatchNormalization", ["x", *PARAMETERS], ["y", "m", "v"], training_mode=1, momentum=0.7
    )
    x = NOISE * 3 + 5
    found = _onnx(tmp_path, node, PARAMETERS, x)
    with torch.no_grad():
        torch_says = nn.functional.batch_norm(
            torch.from_numpy(x), None, None, torch.from_numpy(PARAMETERS["scale"]),
            torch.from_numpy(PARAMETERS["bias"]), training=True,
        ).numpy()  # fmt: skip
    np.testing.assert_allclose(found, torch_says, atol=1e-4)


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(
    ("op", "axis"), [("Softmax", None), ("Softmax", 2), ("LogSoftmax", -1), ("Hardmax", None)]
)
def test_softmax_of_every_version(op: str, axis: int | None, opset: int, tmp_path: Path) -> None:
    attributes = {} if axis is None else {"axis": axis}
    x = NOISE[:, :, :3, :4]
    found = _onnx(tmp_path, helper.make_node(op, ["x"], ["y"], **attributes), {}, x, opset)
    if op == "Softmax":
        first = (axis if axis is not None else (1 if opset < 13 else -1)) % 4
        axes = tuple(range(first, 4)) if opset < 13 else first
        np.testing.assert_allclose(found.sum(axes), 1, rtol=1e-5)


@pytest.mark.parametrize("size", [3, 5])
def test_response_norm(size: int, tmp_path: Path) -> None:
    x = NOISE[:, :, :3, :4]
    node = helper.make_node("LRN", ["x"], ["y"], size=size, alpha=0.5)
    found = _onnx(tmp_path, node, {}, x)
    want = nn.functional.local_response_norm(torch.from_numpy(x), size, alpha=0.5, k=1.0)
    np.testing.assert_allclose(found, want.numpy(), atol=1e-5)


GATHERS = {
    "Gather": ("Gather", 1, np.array(-1)),
    "several": ("Gather", -1, np.array([-1, 0, -3])),
    "GatherElements": ("GatherElements", 1, rng.integers(-6, 6, (2, 2, 3, 4))),
    "GatherND": ("GatherND", None, np.array([[0, -1], [-1, 2]])),
}


@pytest.mark.parametrize("name", GATHERS)
def test_onnx_indices_from_the_end(name: str, tmp_path: Path) -> None:
    op, axis, index = GATHERS[name]
    attributes = {} if axis is None else {"axis": axis}
    node = helper.make_node(op, ["x", "i"], ["y"], **attributes)
    x = NOISE[:, :, :3, :4]
    path = graph_file(tmp_path / "m.onnx", [node], {"i": index.astype(np.int64)}, x.shape)
    proto = onnx.load(path)
    proto.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [f"d{i}" for i in range(
            3 if name in ("Gather", "GatherND") else 4)])
    )  # fmt: skip
    onnx.save(proto, path)
    model = load(path)
    np.testing.assert_array_equal(evaluate(to_graph(model), x)[0], model.run(x)[0])
