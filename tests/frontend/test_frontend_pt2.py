"""``model.pt2``: what loads, and the programs that cannot be compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from tests.frontend.graph_eval import evaluate
from tests.frontend.user_models import Returns, Small, TwoInputs
from tvm_flow.frontend.export import to_graph
from tvm_flow.frontend.model import load
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.support.errors import ModelError, UsageError

SHAPE = (2, 3, 8, 8)


def save(path: Path, module: nn.Module, *inputs: Tensor, **kwargs: Any) -> str:
    torch.export.save(torch.export.export(module, inputs, **kwargs), path)
    return str(path)


def test_loads_and_imports(tmp_path: Path) -> None:
    module = Small().eval()
    spec = save(tmp_path / "my model.pt2", module, torch.randn(SHAPE))
    model = load(spec)
    assert (model.name, model.input_shape, model.onnx) == ("my_model", SHAPE, None)
    assert model.program is not None
    x = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    want = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_array_equal(model.run(x)[0], want)
    (got,) = evaluate(to_graph(model), x)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_batch_norm_without_running_statistics_is_not_training(tmp_path: Path) -> None:
    module = nn.BatchNorm2d(3, track_running_stats=False).eval()
    spec = save(tmp_path / "m.pt2", module, torch.randn(SHAPE))
    assert load(spec, input_shape="2x3x8x8").input_shape == SHAPE


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.Dropout(0.5)], ids=lambda m: str(m)[:7])
def test_training_mode(tmp_path: Path, layer: nn.Module) -> None:
    spec = save(tmp_path / "m.pt2", nn.Sequential(layer).train(), torch.randn(SHAPE))
    with pytest.raises(ModelError, match=r"exported in training mode.*Fix: call \.eval"):
        load(spec)


def test_decomposed_training_mode(tmp_path: Path) -> None:
    program = torch.export.export(nn.BatchNorm2d(3).train(), (torch.randn(SHAPE),))
    torch.export.save(program.run_decompositions(), tmp_path / "m.pt2")
    with pytest.raises(ModelError, match="changes its buffer running_mean"):
        to_graph(load(str(tmp_path / "m.pt2")))


def test_other_shape_than_exported(tmp_path: Path) -> None:
    spec = save(tmp_path / "m.pt2", Small().eval(), torch.randn(SHAPE))
    with pytest.raises(ModelError, match=r"cannot take an input of 1x3x8x8: .* for 2x3x8x8"):
        load(spec, input_shape="1x3x8x8")


def test_dynamic_shapes(tmp_path: Path) -> None:
    spec = save(tmp_path / "m.pt2", Small().eval(), torch.randn(SHAPE),
                dynamic_shapes=({0: Dim("n")},))  # fmt: skip
    with pytest.raises(ModelError, match=r"dynamic shapes: its input x is s.*x3x8x8"):
        load(spec)


def test_several_inputs(tmp_path: Path) -> None:
    spec = save(tmp_path / "m.pt2", TwoInputs(), torch.randn(3), torch.randn(3))
    model = load(spec)
    assert [str(one) for one in model.inputs] == ["x=3", "y=3"]
    x, y = np.arange(3, dtype=np.float32), np.ones(3, np.float32)
    np.testing.assert_array_equal(model.run(x, y), [x + 1])
    with pytest.raises(ModelError, match=r"cannot take an input of y=4: .* for 3\b"):
        load(spec, inputs=[InputSpec((4,), name="y")])
    with pytest.raises(UsageError, match=r"no input z: it takes x, y"):
        load(spec, inputs=[InputSpec((3,), name="z")])


def test_inputs_in_a_dict_and_numbers(tmp_path: Path) -> None:
    """A program is called with whatever it was exported for; here it takes plain tensors."""

    class Nested(nn.Module):
        def forward(self, given: dict[str, Tensor], factor: int, *, mask: Tensor) -> Tensor:
            return given["a"] * factor + torch.where(mask, given["b"], 0)

    a, mask = torch.randn(2, 3), torch.tensor([True, False, True])
    program = torch.export.export(Nested(), ({"a": a, "b": a + 1}, 3), {"mask": mask})
    torch.export.save(program, tmp_path / "m.pt2")
    model = load(str(tmp_path / "m.pt2"))
    assert [(one.shape, one.dtype) for one in model.inputs] == [
        ((2, 3), "float32"), ((2, 3), "float32"), ((3,), "bool"),
    ]  # fmt: skip
    given = [x.numpy() for x in (a, a + 1, mask)]
    want = Nested()({"a": a, "b": a + 1}, 3, mask=mask).numpy()
    np.testing.assert_array_equal(model.run(*given), [want])


def test_input_types(tmp_path: Path) -> None:
    spec = save(tmp_path / "m.pt2", nn.Embedding(5, 3), torch.zeros(4, dtype=torch.int64))
    model = load(spec)
    assert [(one.shape, one.dtype) for one in model.inputs] == [((4,), "int64")]
    assert model.sample[0].max() < 5
    spec = save(tmp_path / "h.pt2", nn.ReLU(), torch.zeros(4, dtype=torch.float16))
    with pytest.raises(ModelError, match=r"input .* of the program is torch.float16"):
        load(spec)


def test_output_that_is_no_tensor(tmp_path: Path) -> None:
    spec = save(tmp_path / "m.pt2", Returns(lambda x: {"y": x + 1, "n": 3}), torch.randn(3))
    with pytest.raises(ModelError, match="returns an int inside what it returns"):
        load(spec)


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    module = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        module.weight[0] = torch.nan
    spec = save(tmp_path / "m.pt2", module, torch.randn(SHAPE))
    with pytest.raises(ModelError, match="tensor weight of the model has NaN"):
        load(spec)


def damage(data: bytes, how: str) -> bytes:
    middle = len(data) // 2
    return {
        "empty": b"",
        "text": b"not an archive",
        "cut": data[:middle],
    }[how]


@pytest.mark.parametrize("how", ["empty", "text", "cut"])
def test_damaged(tmp_path: Path, how: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.pt2"
    save(path, Small().eval(), torch.randn(SHAPE))
    path.write_bytes(damage(path.read_bytes(), how))
    with pytest.raises(ModelError, match=r"is not a readable exported program.*Fix: write it"):
        load(str(path))
    assert "Traceback" not in capfd.readouterr().err


def test_a_state_dict_is_not_a_program(tmp_path: Path) -> None:
    torch.save(Small().state_dict(), tmp_path / "m.pt2")
    with pytest.raises(ModelError, match="is not a readable exported program") as caught:
        load(str(tmp_path / "m.pt2"))
    assert "\n" not in str(caught.value)
