"""``model.onnx`` of element types that few networks have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tvm_flow
from tests.frontend.graph_eval import evaluate
from tvm_flow.frontend.export import to_graph
from tvm_flow.frontend.model import load

HALF = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def write(path: Path, nodes: list[onnx.NodeProto], kind: int,
          weights: dict[str, np.ndarray] | None = None) -> str:  # fmt: skip
    """A graph from ``x`` to ``y``, both of 2 x 3 and of ``kind``."""
    ends = [[helper.make_tensor_value_info(name, kind, (2, 3))] for name in "xy"]
    stored = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "net", *ends, stored)
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return str(path)


@pytest.mark.parametrize("name", HALF)
def test_half_precision_is_computed_in_single(tmp_path: Path, name: str) -> None:
    """Weights, constants, casts and what is within a branch."""
    half = helper.tensor_dtype_to_np_dtype(HALF[name])
    weight = np.linspace(-1, 1, 9).reshape(3, 3).astype(half)
    branch = helper.make_graph(
        [helper.make_node("Cast", ["c"], ["b"], to=HALF[name])], "then", [],
        [helper.make_tensor_value_info("b", HALF[name], (2, 3))],
    )  # fmt: skip
    two = numpy_helper.from_array(np.full(1, 2, half))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Constant", [], ["two"], value=two),
        helper.make_node("Mul", ["p", "two"], ["m"]),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
    ]
    weights = {"w": weight, "yes": np.array(True)}
    model = load(write(tmp_path / "m.onnx", nodes, HALF[name], weights))
    assert [spec.dtype for spec in model.inputs] == ["float32"]
    assert model.remarks == (
        f"the model's {name} is computed in fp32, which inputs and outputs are as well",
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (made,) = model.run(x)
    np.testing.assert_allclose(made, x @ weight.astype(np.float32) * 2, rtol=1e-6, atol=1e-6)
    assert [node.dtype for node in to_graph(model).outputs] == ["float32"]


def test_single_precision_has_no_remark(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    assert load(write(tmp_path / "m.onnx", nodes, TensorProto.FLOAT)).remarks == ()


def test_the_remark_reaches_the_user(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    report = tvm_flow.trace(write(tmp_path / "m.onnx", nodes, TensorProto.FLOAT16))
    assert report.notes[0].startswith("the model's fp16 is computed in fp32")


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_whole_numbers_without_sign(tmp_path: Path, dtype: str) -> None:
    """Up to the largest; sums wrap around."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    weights = {"w": np.array([1, 2, 3], dtype)}
    path = write(tmp_path / "m.onnx", nodes, kind, weights)
    report = tvm_flow.compile(path, output=tmp_path / "bundle", threads=1, runner=False)
    x = np.array([[0, 1, 2], [np.iinfo(dtype).max, 5, 6]], dtype)
    made = tvm_flow.load(report.path)(x)
    assert made.dtype == dtype
    np.testing.assert_array_equal(made, x + weights["w"])


def test_sequences_are_gone_once_imported(tmp_path: Path) -> None:
    """Places are counted from both ends, also where something is put between."""
    places = {"first": np.array(0), "last": np.array(-1), "second last": np.array(-2)}
    nodes = [
        helper.make_node("Add", ["x", "x"], ["double"]),
        helper.make_node("SequenceConstruct", ["x", "double", "x"], ["three"]),
        helper.make_node("SequenceErase", ["three", "first"], ["two"]),
        helper.make_node("SequenceInsert", ["two", "double", "last"], ["more"]),
        helper.make_node("SequenceInsert", ["more", "double"], ["four"]),
        helper.make_node("SequenceAt", ["four", "second last"], ["a"]),
        helper.make_node("SequenceAt", ["two", "last"], ["b"]),
        helper.make_node("SequenceLength", ["four"], ["n"]),
        helper.make_node("Cast", ["n"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Sum", ["a", "b", "count"], ["y"]),
    ]
    model = load(write(tmp_path / "m.onnx", nodes, TensorProto.FLOAT, places))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (made,) = evaluate(to_graph(model), x)
    np.testing.assert_array_equal(made, 2 * x + 4)
