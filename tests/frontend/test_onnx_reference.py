"""Who says what an ONNX model computes, and that both who can say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_flow.frontend.model import load
from tvm_flow.frontend.onnx_reference import EVALUATOR, RUNTIME, Reference
from tvm_flow.support.errors import ImportUnsupportedError

Arrays = dict[str, np.ndarray]


def model_of(
    node: onnx.NodeProto, inputs: Arrays, constants: Arrays | None = None, opset: int = 19
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node], "net",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape) for n, x in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in node.output],
        [numpy_helper.from_array(x, name) for name, x in (constants or {}).items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _pools() -> list[Any]:
    return [
        (kind, {"kernel_shape": [k, k], "strides": [s, s], "auto_pad": pad})
        for kind in ("MaxPool", "AveragePool")
        for pad in ("SAME_LOWER", "SAME_UPPER", "VALID")
        for k, s in ((2, 1), (3, 2), (4, 3))
    ] + [("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 0, 0, 1]})]


@pytest.mark.parametrize(("kind", "attrs"), _pools())
def test_pooling(kind: str, attrs: dict[str, Any]) -> None:
    both(model_of(helper.make_node(kind, ["x"], ["y"], **attrs), {"x": numbers(1, 2, 9, 8)}))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_transposed_convolution(groups: int) -> None:
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], group=groups, strides=[2, 1],
                            output_padding=[1, 0], pads=[1, 0, 1, 1])  # fmt: skip
    both(model_of(node, {"x": numbers(1, 4, 5, 6), "w": numbers(4, 3, 3, 2),
                         "b": numbers(3 * groups)}))  # fmt: skip


@pytest.mark.parametrize("opset", [9, 11, 13])
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax(kind: str, opset: int) -> None:
    for axis in ({}, {"axis": 0}, {"axis": 1}):
        node = helper.make_node(kind, ["x"], ["y"], **axis)
        both(model_of(node, {"x": numbers(2, 3, 4)}, opset=opset))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response(size: int) -> None:
    both(model_of(helper.make_node("LRN", ["x"], ["y"], size=size), {"x": numbers(1, 7, 3, 3)}))


def both(model: onnx.ModelProto) -> None:
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(1)
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
    inputs = [rng.standard_normal(shape, np.float32) for shape in shapes]
    reference = Reference(model)
    first = reference.outputs(inputs)
    assert reference.name == RUNTIME
    assert reference.without_runtime()
    assert reference.name == EVALUATOR
    for a, b in zip(first, reference.outputs(inputs), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
    assert not reference.without_runtime()


def test_what_nobody_computes_is_a_sentence() -> None:
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="linear")
    model = model_of(node, {"x": numbers(2, 3, 4)}, {"s": np.ones(3, np.float32)})
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ImportUnsupportedError, match="cannot run the ONNX model"):
        Reference(model).outputs([numbers(2, 3, 4)])


def test_sigmoid_has_no_least_value() -> None:
    x = np.array([-80.0, -40.0, -19.0, -1.0, 0.0, 2.0, 90.0], np.float32)
    model = model_of(helper.make_node("Sigmoid", ["x"], ["y"]), {"x": x})
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    (made,) = Reference(model).outputs([x])
    np.testing.assert_allclose(made, exact, rtol=1e-5)


def test_weights_and_inputs_off_by_a_rounding() -> None:
    """What is multiplied by; not what says how large something is to be."""
    x, scales = numbers(1, 1, 8, 8), np.array([1, 1, 2, 2], np.float32)
    product = model_of(helper.make_node("MatMul", ["x", "w"], ["y"]), {"x": x},
                       {"w": numbers(8, 8)})  # fmt: skip
    resize = model_of(helper.make_node("Resize", ["x", "", "s"], ["y"]), {"x": x}, {"s": scales})
    for model in (product, resize):
        reference = Reference(model)
        (near,), (exact,) = reference.outputs_off([x]), reference.outputs([x])
        error = np.abs(near - exact).max() / np.abs(exact).max()
        assert 1e-8 < error < 1e-6


def test_a_model_says_who_its_reference_is(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = model_of(helper.make_node("Relu", ["x"], ["y"]), {"x": numbers(2, 3)})
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 3)))
    onnx.save(model, tmp_path / "m.onnx")
    assert load(str(tmp_path / "m.onnx")).reference == RUNTIME
    assert load("shufflenet_v2_x0_5").reference == "PyTorch"
