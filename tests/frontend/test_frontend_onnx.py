"""``model.onnx``: networks exported by PyTorch, hand-made graphs, and what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tests.frontend.graph_eval import evaluate
from tests.frontend.user_models import Returns
from tvm_flow import models
from tvm_flow.frontend.export import to_graph
from tvm_flow.frontend.model import LoadedModel, load
from tvm_flow.ir.graph import Graph
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.models.pconv import PConvBottleneck, use_pconv_forward
from tvm_flow.models.shufflenet import ShuffleUnit
from tvm_flow.support.errors import ImportUnsupportedError, ModelError

FLOAT = TensorProto.FLOAT


def export(path: Path, module: nn.Module, shape: tuple[int, ...], opset: int = 17,
           open_batch: bool = False) -> str:  # fmt: skip
    """Write ``module`` with the exporter of PyTorch that needs no further package."""
    axes = {"x": {0: "batch", 2: "height"}} if open_batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), (torch.randn(shape),), str(path), dynamo=False,
                          opset_version=opset, input_names=["x"], dynamic_axes=axes)  # fmt: skip
    return str(path)


def graph_file(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray],
               shape: tuple[int | str, ...] = (1, 4, 9, 8), kind: int = FLOAT,
               opset: int = 17) -> str:  # fmt: skip
    """Write a graph from ``x`` of ``shape`` to ``y``."""
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", FLOAT, ["n", "c", "h", "w"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, path)
    return str(path)


def check(model: LoadedModel, tolerance: float = 1e-5) -> Graph:
    """Import and compare with ONNX's own reference evaluator; returns the graph."""
    x = np.random.default_rng(0).standard_normal(model.input_shape, dtype=np.float32)
    graph = to_graph(model)
    want, got = model.run(x), evaluate(graph, x)
    for a, b in zip(want, got, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * max(1.0, np.abs(a).max()))
    return graph


@pytest.mark.parametrize("opset", [11, 17, 20])
@pytest.mark.parametrize("spelling", ["split_cat", "slicing"])
def test_fasternet_block(tmp_path: Path, spelling: str, opset: int) -> None:
    block = use_pconv_forward(PConvBottleneck(16, act=nn.GELU), spelling)  # type: ignore[arg-type]
    spec = export(tmp_path / "block.onnx", block, (1, 16, 7, 7), opset)
    model = load(spec)
    assert (model.name, model.input_shape, model.module) == ("block", (1, 16, 7, 7), None)
    graph = check(model)
    found = [node.op for node in graph.nodes()]
    assert found.count("conv2d") == 3
    assert found.count("concat" if spelling == "split_cat" else "slice_scatter") == 1
    convolution = next(node for node in graph.nodes() if node.op == "conv2d")
    assert convolution.modules == ("spatial_mixing.partial_conv3",)


@pytest.mark.parametrize("stride", [1, 2])
def test_shufflenet_unit(tmp_path: Path, stride: int) -> None:
    unit = ShuffleUnit(16, 16, stride) if stride == 1 else ShuffleUnit(8, 16, stride)
    shape = (1, 16, 8, 8) if stride == 1 else (1, 8, 8, 8)
    graph = check(load(export(tmp_path / "unit.onnx", unit, shape)))
    assert not [node.op for node in graph.nodes() if node.op.startswith("relax.")]


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v2", "mobilenet_v3_small"])
def test_networks_equal_pytorch(tmp_path: Path, name: str) -> None:
    module = models.create(name)
    model = load(export(tmp_path / "net.onnx", module, (1, 3, 64, 64)))
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64), dtype=np.float32)
    graph = to_graph(model)
    with torch.no_grad():
        want = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(evaluate(graph, x)[0], want, rtol=0, atol=2e-5 * np.abs(want).max())
    assert not [node.op for node in graph.nodes() if node.op.startswith("relax.")]


def test_open_sizes_are_fixed_by_the_shape_given(tmp_path: Path) -> None:
    module = Returns(lambda x: x.view(x.size(0), 2, -1).transpose(1, 2).flatten(1))
    spec = export(tmp_path / "m.onnx", module, (1, 4, 6, 6), open_batch=True)
    with pytest.raises(ModelError, match=r"no fixed shape: it is batchx4xheightx6.*--input"):
        load(spec)
    model = load(spec, input_shape=(2, 4, 5, 6))
    assert model.input_shape == (2, 4, 5, 6)
    check(model)
    with pytest.raises(ModelError, match=r"cannot take an input of 2x4x5x7: .*for 2x4x5x6"):
        load(spec, input_shape=(2, 4, 5, 7))


# SAME_LOWER pooling is missing because the reference evaluator gets its size wrong.
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_auto_pad(tmp_path: Path, auto_pad: str, stride: int, dilation: int) -> None:
    weight = np.random.default_rng(1).standard_normal((5, 4, 3, 2), dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "layer.weight"], ["c"], auto_pad=auto_pad,
                         strides=[stride, stride], dilations=[dilation, dilation]),
        helper.make_node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], strides=[2, 2],
                         auto_pad=auto_pad.replace("LOWER", "UPPER")),
    ]  # fmt: skip
    spec = graph_file(tmp_path / "m.onnx", nodes, {"layer.weight": weight})
    graph = check(load(spec))
    assert [node.modules for node in graph.nodes() if node.op == "conv2d"] == [("layer",)]


def test_asymmetric_padding(tmp_path: Path) -> None:
    weight = np.random.default_rng(1).standard_normal((4, 1, 3, 3), dtype=np.float32)
    nodes = [
        helper.make_node("Pad", ["x", "pads", "zero"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["y"], pads=[0, 1, 2, 0], group=4, strides=[2, 2]),
    ]
    weights = {"w": weight, "pads": np.array([0, 0, 1, 0, 0, 0, 2, 3]), "zero": np.float32(0.5)}
    graph = check(load(graph_file(tmp_path / "m.onnx", nodes, weights)))
    assert [n.attrs["padding"] for n in graph.nodes() if n.op == "conv2d"] == [(0, 1, 2, 0)]


def test_old_attributes_of_clip_and_pad(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Pad", ["x"], ["p"], pads=[0, 0, 1, 0, 0, 0, 2, 3], value=0.5),
        helper.make_node("Clip", ["p"], ["y"], min=0.0, max=6.0),
    ]
    graph = check(load(graph_file(tmp_path / "m.onnx", nodes, {}, opset=9)))
    assert [node.op for node in graph.nodes()] == ["input", "relax.nn.pad", "clip"]


@pytest.mark.parametrize(
    ("bounds", "low", "high"),
    [(["", "six"], -np.inf, 6.0), (["zero"], 0.0, np.inf), (["zero", "six"], 0.0, 6.0)],
)
def test_clip_bounds(tmp_path: Path, bounds: list[str], low: float, high: float) -> None:
    nodes = [helper.make_node("Clip", ["x", *bounds], ["y"])]
    values = {"zero": np.float32(0.0), "six": np.float32(6.0)}
    weights = {name: value for name, value in values.items() if name in bounds}
    graph = check(load(graph_file(tmp_path / "m.onnx", nodes, weights)))
    assert graph.outputs[0].attrs == {"low": low, "high": high}


@pytest.mark.parametrize(
    "module",
    [nn.Hardswish(), nn.Hardsigmoid(), nn.ReLU6(), nn.SiLU(), nn.GELU(), nn.GELU("tanh"),
     nn.LayerNorm(6), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Linear(6, 3),
     nn.AvgPool2d(3, 2, 1), nn.ZeroPad2d((1, 2, 0, 3)),
     nn.Sequential(nn.Flatten(), nn.Linear(144, 5))],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("opset", [13, 20])
def test_layers(tmp_path: Path, module: nn.Module, opset: int) -> None:
    check(load(export(tmp_path / "m.onnx", module, (1, 4, 6, 6), opset)), 2e-5)


def test_scatter_with_a_step(tmp_path: Path) -> None:
    def checkerboard(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, ::2] = x[:, ::2] * 2
        return y

    check(load(export(tmp_path / "m.onnx", Returns(checkerboard), (1, 4, 6, 6))))


def test_unknown_operator_names_the_node(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="/act"),
        helper.make_node("Det", ["r"], ["y"], name="/body/det"),
    ]
    spec = graph_file(tmp_path / "m.onnx", nodes, {})
    with pytest.raises(
        ImportUnsupportedError, match=r"operator Det \(node /body/det\): no conv"
    ) as caught:
        to_graph(load(spec))
    assert "\n" not in str(caught.value)


def test_operator_of_another_domain_names_it(tmp_path: Path) -> None:
    node = helper.make_node("Fold", ["x"], ["y"], name="/fold", domain="com.example")
    path = tmp_path / "m.onnx"
    model = onnx.load(graph_file(path, [node], {}))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, path)
    with pytest.raises(
        ImportUnsupportedError, match=r"operator Fold of com.example \(node /fold\): no converter"
    ) as caught:
        to_graph(load(str(path)))
    assert "\n" not in str(caught.value)


def test_failed_conversion_names_the_node(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="/act"),
        helper.make_node("Pad", ["r", "pads"], ["y"], name="/pad", mode="strange"),
    ]
    spec = graph_file(tmp_path / "m.onnx", nodes, {"pads": np.ones(8, np.int64)})
    with pytest.raises(ImportUnsupportedError, match=r"operator Pad \(node /pad\): its mode is"):
        to_graph(load(spec))


@pytest.mark.parametrize("module", [nn.ReflectionPad2d(1), nn.ReplicationPad2d((1, 0, 2, 1)),
                                    nn.CircularPad2d(2), nn.CELU(0.7)], ids=str)  # fmt: skip
def test_layers_that_tvm_has_no_operator_for(tmp_path: Path, module: nn.Module) -> None:
    check(load(export(tmp_path / "m.onnx", module, (1, 4, 6, 6))))


def test_operator_set_that_is_newer_than_onnx(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], {}, opset=999)
    with pytest.raises(ModelError, match="operator set 999") as caught:
        load(path)
    assert "pip install -U onnx" in caught.value.fix


def relu() -> list[onnx.NodeProto]:
    return [helper.make_node("Relu", ["x"], ["y"])]


def test_inputs_that_cannot_be_compiled(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    cast = [helper.make_node("Cast", ["x"], ["y"], to=FLOAT)]
    with pytest.raises(ModelError, match="input x of the ONNX model is float8_e5m2: inputs are"):
        load(graph_file(path, cast, {}, kind=TensorProto.FLOAT8E5M2, opset=19))
    with pytest.raises(ModelError, match=r"input x of the ONNX model has no elements: .* 4x0x2"):
        load(graph_file(path, relu(), {}, (4, 0, 2)))
    constant = helper.make_node("Constant", [], ["y"], value_float=1.0)
    graph = helper.make_graph([constant], "net", [], [value("y", ())])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    with pytest.raises(ModelError, match="takes no input"):
        load(str(path))


def value(name: str, shape: tuple[int | str, ...], kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def test_outputs_that_are_no_tensors(tmp_path: Path) -> None:
    pair = helper.make_node("SequenceConstruct", ["x", "x"], ["y"])
    sequence = helper.make_tensor_sequence_value_info("y", FLOAT, (2, 3))
    graph = helper.make_graph([pair], "net", [value("x", (2, 3))], [sequence])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="output y of the ONNX model is a sequence_type"):
        load(str(tmp_path / "m.onnx"))


def test_several_inputs_of_several_types(tmp_path: Path) -> None:
    """Of which the file leaves sizes open, and lists a weight among them as old files do."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Add", ["rows", "shift"], ["moved"]),
        helper.make_node("ReduceSum", ["moved"], ["total"], keepdims=0),
        helper.make_node("Identity", ["ids"], ["same ids"]),
    ]
    table = np.arange(12, dtype=np.float32).reshape(6, 2)
    graph = helper.make_graph(
        nodes, "net",
        [value("table", (6, 2)), value("ids", ("n",), TensorProto.INT64), value("shift", ("n", 2))],
        [value("moved", ("n", 2)), value("total", ()),
         value("same ids", ("n",), TensorProto.INT64)],
        [numpy_helper.from_array(table, "table")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    inputs = [InputSpec((3, 2), name="shift"), InputSpec((3,))]
    model = load(str(tmp_path / "m.onnx"), inputs=inputs)
    assert [str(spec) for spec in model.inputs] == ["ids=3:int64", "shift=3x2"]
    assert model.sample[0].max() < 6
    assert model.outputs == ("moved", "total", "same ids")
    ids, shift = np.array([5, 0, 1]), np.ones((3, 2), np.float32)
    moved, total, same = model.run(ids, shift)
    np.testing.assert_array_equal(moved, table[ids] + 1)
    assert (total.shape, total) == ((), moved.sum())
    np.testing.assert_array_equal(same, ids)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.full((4, 4, 1, 1), np.nan, np.float32), "w of the model has NaN or infinity in 16"),
        (np.ones((4, 4, 1, 1), np.float64), "w of the model is float64"),
    ],
)
def test_weights_that_cannot_be_compiled(tmp_path: Path, value: np.ndarray, says: str) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    with pytest.raises(ModelError, match=says):
        load(graph_file(tmp_path / "m.onnx", nodes, {"w": value}))


@pytest.mark.parametrize("content", [b"", b"not protobuf at all"])
def test_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="is not a valid ONNX model") as caught:
        load(str(tmp_path / "m.onnx"))
    assert "\n" not in str(caught.value)


def test_external_data_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    weight = {"w": np.ones((4, 4, 1, 1), np.float32)}
    graph_file(path, [helper.make_node("Conv", ["x", "w"], ["y"])], weight)
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="m.data",
                    size_threshold=0)  # fmt: skip
    check(load(str(path)))
    (tmp_path / "m.data").unlink()
    with pytest.raises(ModelError, match=r"is not a valid ONNX model.*external data beside it"):
        load(str(path))


def test_constants_that_contradict_each_other(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["four", "three"], ["shape"]),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    weights = {"four": np.array([1, 4, 9, 8]), "three": np.array([3])}
    spec = graph_file(tmp_path / "m.onnx", nodes, weights)
    with pytest.raises(ModelError, match="contradict each other: cannot reshape"):
        to_graph(load(spec))


def test_reshape_that_does_not_fit_names_the_node(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"], name="/view")]
    spec = graph_file(tmp_path / "m.onnx", nodes, {"shape": np.array([7, 7])})
    with pytest.raises(ImportUnsupportedError, match=r"operator Reshape \(node /view\)"):
        to_graph(load(spec))
