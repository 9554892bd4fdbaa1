"""Networks that take and return other things than one picture and its classes: from the model to
what the bundle computes, by every way to run one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import tvm_flow
from tests.bundle.modules import Everything, OwnDomain
from tvm_flow import Input, Model
from tvm_flow.support.errors import ModelError, NumericsError, UsageError
from tvm_flow.support.manifest import read

SHAPE = (1, 3, 4, 6)
INPUTS = (
    Input(SHAPE), Input((1, 5), "int64", "ids"), Input((), name="scale"),
)  # fmt: skip
NAMES = ["map", "total", "parts.0", "heads.mask", "heads.best", "anchors", "ids"]
TYPES = ["float32", "float32", "float64", "bool", "int64", "float32", "int64"]


class Calls(nn.Module):
    """Whatever ``body`` does."""

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> Any:
        return self.body(x)


def compiled(model: Any, path: Path, **more: Any) -> Path:
    output = path if path.suffix else path / "b"
    report = tvm_flow.compile(model, output=output, threads=1, records=path.parent, **more)
    assert report.verified is not None
    return report.path


def nchw(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


@pytest.fixture(scope="module")
def everything() -> Everything:
    torch.manual_seed(3)
    return Everything()


def expected(module: nn.Module, arrays: list[np.ndarray]) -> list[np.ndarray]:
    x, ids, scale = (torch.tensor(array) for array in arrays)
    with torch.no_grad():
        made = module(x, ids, scale=scale)
    parts = [made["map"], made["total"], *made["parts"], *made["heads"], made["anchors"]]
    return [part.numpy() for part in (*parts, made["ids"])]


def given() -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    x = rng.standard_normal(SHAPE, np.float32)
    return [x, rng.integers(0, 7, (1, 5)), np.array(-1.5, np.float32)]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_everything(everything: Everything, tmp_path: Path, layout: str) -> None:
    path = compiled(Model(everything, inputs=INPUTS), tmp_path, layout=layout)
    bundle = tvm_flow.load(path)
    assert [(spec.name, spec.dtype) for spec in bundle.inputs] == [
        ("x", "float32"), ("ids", "int64"), ("scale", "float32"),
    ]  # fmt: skip
    assert [spec.name for spec in bundle.outputs] == NAMES
    assert [spec.dtype for spec in bundle.outputs] == TYPES
    arrays = given()
    want = expected(everything, arrays)
    if layout == "nhwc":
        arrays[0] = arrays[0].transpose(0, 2, 3, 1)
    found = [nchw(array) if layout == "nhwc" else array for array in bundle(*arrays)]
    for name, a, b in zip(NAMES, found, want, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)
    runs_in_every_way(path, tmp_path, bundle.inputs, arrays)


def runs_in_every_way(path: Path, folder: Path, specs: list[Any], arrays: list[np.ndarray]) -> None:
    """By the program, by the script, and from files."""
    files = []
    for spec, array in zip(specs, arrays, strict=True):
        files.append(folder / f"{spec.name}.npy")
        np.save(files[-1], np.asarray(array, order="C"))
    for command in ([path / "runner"], [sys.executable, path / "run.py"]):
        for arguments in (["--check"], files):
            done = subprocess.run(
                [*command, "--runs", "1", *arguments], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    report = tvm_flow.run(path, *files)
    report.save(folder / "out.npy")
    np.testing.assert_array_equal(np.load(folder / "out_2.npy"), report.outputs[1])
    assert [entry["name"] for entry in report.to_json()["outputs"]] == NAMES
    with pytest.raises(UsageError, match=r"takes 3 input\(s\), 1 given.*x, ids, scale"):
        tvm_flow.run(path, files[0])


@pytest.mark.parametrize("format", ["single-file", pytest.param("tvm", marks=pytest.mark.slow)])
def test_other_formats(everything: Everything, tmp_path: Path, format: str) -> None:
    compiled(Model(everything, inputs=INPUTS), tmp_path / "b.so", format=format)


@pytest.mark.parametrize(
    ("body", "shape", "want"),
    [
        (nn.Identity(), (1, 3, 2, 2), lambda x: x),
        (nn.Flatten(), (1, 3, 2, 2), lambda x: x.reshape(1, 12)),
        (lambda x: [x.reshape(4, 3)], (1, 3, 2, 2), lambda x: x.reshape(4, 3)),
        (lambda x: torch.arange(3), (1, 3, 2, 2), lambda x: np.arange(3)),
        (nn.Identity(), (), lambda x: x),
    ],
    ids=["identity", "flatten", "reshape in a list", "constant", "scalar"],
)
def test_nothing_to_compile(tmp_path: Path, body: Any, shape: tuple[int, ...], want: Any) -> None:
    path = compiled(Model(Calls(body), input_shape=shape), tmp_path, runner=False)
    assert not [step for step in tvm_flow.load(path).steps if step != "copy"]
    x = np.random.default_rng(1).standard_normal(shape, np.float32).reshape(shape)
    np.testing.assert_array_equal(tvm_flow.load(path)(x), want(x))
    if shape:
        assert tvm_flow.profile(path, runs=1).kernels


def test_unbatched_and_in_place(tmp_path: Path) -> None:
    """The sample that is stored is what was drawn, negative numbers included."""
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3)).eval()
    path = compiled(Model(module, input_shape=(3, 6, 6)), tmp_path, runner=False)
    stored = np.load(path / "sample_input.npy")
    assert stored.shape == (3, 6, 6)
    assert stored.min() < -1
    with torch.no_grad():
        want = module(torch.tensor(stored)).numpy()
    np.testing.assert_allclose(tvm_flow.load(path)(stored), want, rtol=1e-4, atol=1e-5)


def test_a_sample_of_its_own_domain(tmp_path: Path) -> None:
    path = compiled(OwnDomain(), tmp_path, runner=False)
    np.testing.assert_array_equal(
        np.load(path / "sample_input.npy"), OwnDomain.example_inputs[0].numpy()
    )
    np.save(tmp_path / "x.npy", np.full((1, 3, 4, 4), np.e))  # NumPy's double precision is no wish
    model = Calls(torch.log)
    own = Model(model, sample=tmp_path / "x.npy")
    assert read(compiled(own, tmp_path, runner=False)).data["inputs"][0]["dtype"] == "float32"
    with pytest.raises(UsageError, match=r"NaN or infinity for its sample.*--sample FILE"):
        compiled(Model(model, input_shape=(1, 3, 4, 4)), tmp_path)
    with pytest.raises(UsageError, match=r"sample of x is \(1, 3, 4, 4\)"):
        tvm_flow.trace(Model(model, input_shape=(1, 3, 4, 5), sample=tmp_path / "x.npy"))


class Nothing(nn.Module):
    """Computes nothing, of nothing, and with nothing."""

    def forward(self, x: torch.Tensor, empty: torch.Tensor) -> tuple[torch.Tensor, ...]:
        product = torch.addmm(x[0], empty.T, empty)
        joined = torch.cat([x[:, :0] * 2, x], 1)
        return x[:, :, :0], joined, empty, empty * 2, empty.sum(), product


def test_tensors_without_elements(tmp_path: Path) -> None:
    path = compiled(Model(Nothing(), inputs=(Input((1, 3, 3)), Input((0, 3)))), tmp_path)
    arrays = [given()[0][:1, :1, :3, :3].reshape(1, 3, 3), np.zeros((0, 3), np.float32)]
    found, want = tvm_flow.load(path)(*arrays), Nothing()(*map(torch.tensor, arrays))
    for a, b in zip(found, want, strict=True):
        np.testing.assert_array_equal(a, b.numpy(), strict=True)
    for command in ([path / "runner"], [sys.executable, path / "run.py"]):
        subprocess.run([*command, "--runs", "1", "--check"], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (lambda x: nn.functional.dropout(x, 0.5), r"is random: .* training=self\.training"),
        (lambda x: {"noisy": x + torch.rand(3)}, "is random: two runs .* output noisy"),
        (lambda x: {"x": x, "label": "cat"}, "returns a str inside"),
        (lambda x: x.half(), "a tensor of torch.float16"),
    ],
    ids=["dropout", "noise", "text", "half"],
)
def test_refused_by_trace(body: Any, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        tvm_flow.trace(Model(Calls(body), input_shape=(1, 2, 3)))
    assert caught.value.fix


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ((Input(SHAPE),), r"takes 3 inputs \(x, ids, scale\).*Fix: pass them, such as --input x="),
        ((*INPUTS, Input((1,), name="mask")), "no input mask: it takes x, ids, unused, scale"),
        ((*INPUTS, Input((1,)), Input((1,))), r"takes 4 input\(s\), 5 given"),
        ((Input(SHAPE, "float16"),), "'float16' is not a type of inputs.*Fix: one of float32"),
        ((Input((-1, 3)),), "is not a shape"),
        ((Input((2,), name="x"), Input((2,), name="x")), "is named twice"),
    ],
    ids=["too few", "unknown", "too many", "type", "shape", "twice"],
)
def test_inputs_that_are_not_its(
    everything: Everything, inputs: tuple[Input, ...], says: str
) -> None:
    with pytest.raises((ModelError, UsageError), match=says):
        tvm_flow.trace(Model(everything, inputs=inputs))


def test_onnx(tmp_path: Path) -> None:
    """Names as other tools give them; a constant, an input and a scalar among the outputs."""

    def value(name: str, *shape: int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    nodes = [
        helper.make_node("Greater", ["in put:0", "limit"], ["mask"]),
        helper.make_node("ReduceSum", ["in put:0"], ["total"], keepdims=0),
        helper.make_node("Shape", ["in put:0"], ["shape"]),
    ]
    graph = helper.make_graph(
        nodes, "net", [value("in put:0", 1, 3, 4, 5), value("limit", 1)],
        [value("mask", 1, 3, 4, 5, kind=TensorProto.BOOL), value("total"),
         value("shape", 4, kind=TensorProto.INT64), value("limit", 1), value("w", 2)],
        [numpy_helper.from_array(np.array([3, 4], np.float32), "w")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    bundle = tvm_flow.load(compiled(str(tmp_path / "m.onnx"), tmp_path, runner=False))
    assert [spec.name for spec in bundle.inputs] == ["in put:0", "limit"]
    assert [spec.name for spec in bundle.outputs] == ["mask", "total", "shape", "limit", "w"]
    x = np.random.default_rng(1).standard_normal((1, 3, 4, 5), np.float32)
    limit = np.array([0.5], np.float32)
    want = [x > limit, x.sum(), np.array(x.shape), limit, np.array([3, 4])]
    for found, right in zip(bundle(x, limit), want, strict=True):
        assert found.shape == right.shape
        np.testing.assert_allclose(found, right, rtol=1e-4)


def test_whole_numbers_are_the_same_or_wrong(tmp_path: Path) -> None:
    """A million is not a million and one, however little that is of it."""
    large = torch.arange(5) * 1_000_000
    bundle = compiled(Model(Calls(lambda x: (x * 2, large)), input_shape=SHAPE), tmp_path)
    expected = bundle / "sample_expected_2.npy"
    assert tvm_flow.load(bundle).check() <= 1e-6
    np.save(expected, np.load(expected) + np.array([0, 0, 0, 0, 1]))
    with pytest.raises(NumericsError, match="max relative error inf"):
        tvm_flow.load(bundle).check()
