"""Loading: every kind of spec, and one line for everything that can be wrong with a model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.frontend.graph_eval import evaluate
from tvm_flow.frontend.export import to_graph
from tvm_flow.frontend.inputs import parse_shape
from tvm_flow.frontend.model import LoadedModel, from_module, load
from tvm_flow.support.errors import ModelError, TvmFlowError, UsageError

FILE = Path(__file__).with_name("user_models.py")
DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "models.py"


def factory(name: str) -> LoadedModel:
    return load(f"{FILE}:{name}")


def line_of(text: str) -> int:
    return FILE.read_text().splitlines().index(text) + 1


def test_zoo_name() -> None:
    model = load("shufflenet_v2_x0_5", input_shape="1x3x64x64")
    assert (model.name, model.spec) == ("shufflenet_v2_x0_5", "shufflenet_v2_x0_5")
    assert model.input_shape == (1, 3, 64, 64)
    assert model.module is not None
    assert not any(module.training for module in model.module.modules())
    assert model.program is None
    assert model.onnx is None


def test_zoo_default_shape() -> None:
    assert load("shufflenet_v2_x0_5").input_shape == (1, 3, 224, 224)


def test_factory_takes_its_shape_from_the_module() -> None:
    model = factory("small")
    assert (model.name, model.input_shape) == ("small", (2, 3, 8, 8))
    assert model.module is not None
    assert not model.module.training


def test_shape_given_wins_over_the_module() -> None:
    assert load(f"{FILE}:small", input_shape=(1, 3, 9, 5)).input_shape == (1, 3, 9, 5)


def test_factory_weights_do_not_depend_on_the_caller() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second = factory("small").module, factory("small").module
    assert first is not None
    assert second is not None
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert torch.equal(torch.get_rng_state(), state)


def test_class_as_factory() -> None:
    assert factory("Small").input_shape == (2, 3, 8, 8)


@pytest.mark.parametrize("name", ["fasternet_digits", "shufflenet_digits"])
def test_digits(name: str) -> None:
    model = load(f"{DIGITS}:{name}")
    assert model.input_shape == (1, 1, 32, 32)
    (logits,) = model.run(np.zeros(model.input_shape, np.float32))
    assert logits.shape == (1, 10)


def test_run_gives_every_output() -> None:
    model = from_module(_Pair(), "pair", input_shape=(1, 2, 3, 3))
    x = np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3)
    first, second = model.run(x)
    np.testing.assert_array_equal(first, x)
    np.testing.assert_array_equal(second, x + 1)


class _Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x + 1


@pytest.mark.parametrize(
    "switch",
    [
        "guard = torch.inference_mode(); guard.__enter__()",
        "torch.set_grad_enabled(False)",
        "torch.set_default_dtype(torch.float64)",
        "kept = torch._C._InferenceMode(True); kept.__enter__()",
    ],
)
def test_what_a_factory_switches_ends_with_it(tmp_path: Path, switch: str) -> None:
    """Also tensors that it made in inference mode are exported, shared ones as shared ones."""
    (tmp_path / "model.py").write_text(
        f"import torch\n{switch}\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)\n"
        "        self.b.weight = self.a.weight\n"
        "        self.register_buffer('shift', torch.ones(4))\n"
        "    def forward(self, x): return self.b(self.a(x)) + self.shift\n"
        f"def net():\n    {switch}\n    return Net().float()\n"
    )
    model = load(f"{tmp_path}/model.py:net", input_shape=(2, 4))
    assert (torch.is_inference_mode_enabled(), torch.is_grad_enabled()) == (False, True)
    assert torch.get_default_dtype() is torch.float32
    assert model.module.a.weight is model.module.b.weight
    x = np.ones((2, 4), np.float32)
    graph = to_graph(model)
    np.testing.assert_allclose(evaluate(graph, x)[0], model.run(x)[0], rtol=1e-5)


def test_a_module_made_and_used_in_inference_mode() -> None:
    with torch.inference_mode():
        module = nn.Linear(3, 2)
        graph = to_graph(from_module(module, "m", input_shape=(1, 3)))
    assert [node.shape for node in graph.outputs] == [(1, 2)]


def test_imports_of_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_model.py").write_text("WIDTH = 5\n")
    path = tmp_path / "model.py"
    path.write_text(
        "from torch import nn\nfrom neighbour_of_model import WIDTH\n"
        "def net():\n    return nn.Conv2d(3, WIDTH, 1)\n"
    )
    model = load(f"{path}:net", input_shape="1x3x4x4")
    assert model.run(np.zeros((1, 3, 4, 4), np.float32))[0].shape == (1, 5, 4, 4)


@pytest.mark.parametrize("text", ["1x3x224x224", " 1x3x224x224 "])
def test_parse_shape(text: str) -> None:
    assert parse_shape(text) == (1, 3, 224, 224)


@pytest.mark.parametrize("text", ["", "x", "0x3x4x4", "1x3x-4x4", "1,3,4,4", "1x3x4x", "1x3.5"])
def test_parse_shape_rejects(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a shape.*Fix: write it like"):
        parse_shape(text)


# factory, exception, what the line must say
REFUSED = [
    (
        "smal",
        ModelError,
        "does not define smal: .*: Small, TwoInputs, small, raises.*Fix: .*:small",
    ),
    ("wants_arguments", ModelError, "wants arguments: width has no default"),
    ("raises", ModelError, "failed: KeyError: 'width' at .*user_models.py:{raises}"),
    ("raises_in_torch", ModelError, "failed: ValueError.*user_models.py:{raises_in_torch}"),
    ("exits", ModelError, "failed: SystemExit: 2 at"),
    ("returns_text", ModelError, "returned a str: a torch.nn.Module was expected"),
    ("NOT_A_FUNCTION", ModelError, "is an int, not a function"),
    ("instance", ModelError, "instance in .* is a Small, not a function"),
    ("returns_text_inside", ModelError, "returns a str inside what it returns: only tensors"),
    ("returns_complex", ModelError, "returns a tensor of torch.complex64"),
    ("returns_nothing", ModelError, "returns an empty tuple"),
    ("two_inputs", ModelError, r"takes 2 inputs \(x, y\).*Fix: pass them.*--input x=.* --input y="),
    ("double", ModelError, "tensor weight of the model is torch.float64.*Fix: call .float"),
    ("not_finite", ModelError, "body.0.weight of the model has NaN or infinity in 2 of 108"),
    ("on_meta", ModelError, "tensor weight of the model has no values"),
    ("lazy", ModelError, "tensor weight of the model has no values"),
]
LINES = {
    "{raises}": line_of('    return nn.Conv2d(3, missing["width"], 1)'),
    "{raises_in_torch}": line_of("    return nn.Conv2d(3, 5, 1, groups=2)"),
}


@pytest.mark.parametrize(("name", "kind", "says"), REFUSED, ids=[case[0] for case in REFUSED])
def test_refused_factory(name: str, kind: type[TvmFlowError], says: str) -> None:
    for placeholder, line in LINES.items():
        says = says.replace(placeholder, f"{line}\\b")
    with pytest.raises(kind, match=says) as caught:
        factory(name)
    assert "\n" not in str(caught.value)
    assert caught.value.fix


def test_error_of_the_project_passes_through(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(
        "from tvm_flow.support.errors import ModelError\n"
        "def net():\n    raise ModelError('the weights are gone', fix='train')\n"
    )
    with pytest.raises(ModelError, match=r"^the weights are gone\. Fix: train$"):
        load(f"{path}:net")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def net(:\n", r"is not valid Python: .* at .*model\.py:1\. Fix"),
        ("x = 1\ny = 1 / 0\n", r"ZeroDivisionError: division by zero at .*model\.py:2\b"),
        ("import no_such_package\n", r"ModuleNotFoundError.*model\.py:1.*PYTHONPATH"),
        ("raise SystemExit('usage')\n", r"SystemExit: usage at .*model\.py:1\b"),
        ("WIDTH = 3\n", r"does not define net: it defines no factory"),
    ],
)
def test_broken_file(tmp_path: Path, source: str, says: str) -> None:
    path = tmp_path / "model.py"
    path.write_text(source)
    with pytest.raises(ModelError, match=says) as caught:
        load(f"{path}:net")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "kind", "says"),
    [
        (
            "fasternet_t9",
            UsageError,
            "no model 'fasternet_t9' in the zoo: close names.*fasternet_t",
        ),
        ("models/net", ModelError, "file models/net does not exist"),
        ("net.py:make", ModelError, "file net.py does not exist"),
        ("net.pt2", ModelError, "file net.pt2 does not exist"),
        ("net.onnx", ModelError, "file net.onnx does not exist"),
        ("net.py", UsageError, "does not say which model.*Fix: pass --model net.py:factory"),
        ("weights.pth", UsageError, "holds weights and no model.*--weights weights.pth"),
        ("net.txt", ModelError, "file net.txt does not exist"),
    ],
)
def test_spec_without_model(spec: str, kind: type[TvmFlowError], says: str) -> None:
    with pytest.raises(kind, match=says):
        load(spec)


def test_wrong_shape_names_the_module() -> None:
    with pytest.raises(ModelError, match=re.escape("in body.0 (Conv2d): RuntimeError: Given")):
        load(f"{FILE}:small", input_shape="1x1x8x8")


def test_shape_that_is_none() -> None:
    with pytest.raises(UsageError, match="is not a shape"):
        load(f"{FILE}:small", input_shape=(1, 3, -1, 8))
