"""A wrong import and a wrong pass are found, named, and not compiled, whatever the target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from tvm import relax

import tvm_flow
from tests.verify.networks import SHAPE, LastStep, imported, verified
from tvm_flow.api import networks
from tvm_flow.backends.cpu import phases
from tvm_flow.frontend.export import import_model
from tvm_flow.frontend.model import load
from tvm_flow.frontend.source import Imported
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.support.errors import CompileError, ImportUnsupportedError
from tvm_flow.verify.evaluate import Evaluator
from tvm_flow.verify.network import sample, verified_graph, verify_import
from tvm_flow.verify.relax_nodes import WrongIndexError


class _Cut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(x)
        return torch.nn.functional.gelu(y[:, 1:3])


def _changed(node_op: str, **attrs: object) -> Imported:
    """An import of which one operator has other attributes than it should."""
    wrong = imported(_Cut())
    node = next(node for node in wrong.graph.nodes() if node.op == node_op)
    node.attrs |= attrs
    return wrong


def refused(wrong: Imported) -> str:
    with pytest.raises(ImportUnsupportedError) as caught:
        verify_import(wrong, sample(wrong.graph))
    return str(caught.value)


def test_wrong_slice_is_named_with_its_arguments() -> None:
    text = refused(_changed("slice", start=0, stop=2))
    assert "the operator aten.slice.Tensor with 1, 1, 3 (in the forward of _Cut at" in text
    assert "compared with PyTorch on a random input, it is off by" in text


def test_wrong_operator_is_named_with_its_module() -> None:
    text = refused(_changed("act", kind="relu"))
    assert "aten.sigmoid.default (in head.1 (Sigmoid) at" in text


def test_slice_outside_of_the_tensor() -> None:
    assert "aten.slice.Tensor" in refused(_changed("slice", start=3, stop=5))


def test_wrong_shape() -> None:
    wrong = _changed("slice")
    node = next(node for node in wrong.graph.nodes() if node.op == "slice")
    node.shape = (2, 3, 6, 5)
    assert "2x2x6x5 where float32 2x3x6x5 was expected" in refused(wrong)


def test_output_that_is_not_imported() -> None:
    wrong = imported(_Cut())
    wrong.graph.outputs.clear()
    assert "the model returns 1 tensors, of which 0" in refused(wrong)


def test_index_outside_is_found_before_the_code_runs() -> None:
    x = Node("input", [], SHAPE)
    index = Node("const", [], (1,), weights={"value": np.array([-1])}, dtype="int64")
    call = relax.op.take(
        relax.Var("x", relax.TensorType(SHAPE, "float32")), relax.const([-1], "int64"), axis=1
    )
    taken = Node("relax.take", [x, index], (2, 1, 6, 5), {"call": call, "slots": (0, 1)})
    with pytest.raises(WrongIndexError, match="index -1 into 4 elements"):
        Evaluator(Graph([x], [taken])).run([torch.zeros(SHAPE)])


def test_wrong_pass_is_named() -> None:
    def swap(graph: Graph) -> Graph:
        for node in graph.nodes():
            if node.attrs.get("kind") == "sigmoid":
                node.attrs["kind"] = "hardsigmoid"
        return graph

    passes = phases()
    with pytest.raises(CompileError, match="the pass swap changes what") as caught:
        verified(_Cut(), passes=[*passes[:2], ("swap", swap), *passes[2:]])
    assert "records" in caught.value.fix


def test_rounding_of_an_ill_conditioned_network_is_no_wrong_pass() -> None:
    class Sensitive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.norm = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
            self.norm.running_var.fill_(0.37)  # type: ignore[operator, union-attr]

        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(2e4 * self.norm(self.conv(x)))

    assert verified(Sensitive()).places


SLOW = pytest.mark.slow
ZOO = [
    ("fasternet_t0", "NCHW"),
    ("shufflenet_v2_x0_5", "NHWC"),
    pytest.param("fasternet_t0", "NHWC", marks=SLOW),
    pytest.param("shufflenet_v2_x0_5", "NCHW", marks=SLOW),
    pytest.param("mobilenet_v3_small", "NCHW", marks=SLOW),
    pytest.param("mobilenet_v3_small", "NHWC", marks=SLOW),
    pytest.param("pconv_resnet18", "NCHW", marks=SLOW),
]


@pytest.mark.parametrize(("name", "layout"), ZOO)
def test_zoo(name: str, layout: str) -> None:
    model = load(name, input_shape=(1, 3, 64, 64))
    found = verified_graph(lambda: import_model(model), phases(layout, 1 << 14), layout)
    assert found.places > 60
    assert "verified in" in str(found)


def test_last_step_for_a_board(tmp_path: Path) -> None:
    report = tvm_flow.compile(LastStep(nn.LSTM), output=tmp_path / "b", target="rk3399")
    assert report.verified is None
    assert report.graph.places > 20
    assert report.to_json()["graph_seconds"] > 0


def test_wrong_import_for_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "import_model", lambda _loaded: _changed("act", kind="relu"))
    model = tvm_flow.Model(_Cut(), input_shape=SHAPE)
    with pytest.raises(ImportUnsupportedError, match=r"the operator aten\.sigmoid\.default"):
        tvm_flow.compile(model, output=tmp_path / "b", target="rk3399")
    assert not (tmp_path / "b").exists()
    with pytest.raises(ImportUnsupportedError, match="compared with PyTorch"):
        tvm_flow.trace(model)


def test_a_wrong_import_is_not_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "import_model", lambda _loaded: _changed("act", kind="relu"))
    with pytest.raises(ImportUnsupportedError, match=r"aten\.sigmoid\.default"):
        tvm_flow.tune(tvm_flow.Model(_Cut(), input_shape=SHAPE), trials=1, records=tmp_path)
