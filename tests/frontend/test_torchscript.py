"""TorchScript, as a file and as a module, and modules of half precision."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tvm_flow.frontend.export import import_model
from tvm_flow.frontend.model import LoadedModel, from_module, load
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.support.errors import ModelError, UsageError
from tvm_flow.verify.network import verify_import

SHAPE = (1, 3, 9, 7)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 10, 3, padding=1), nn.BatchNorm2d(10)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        if y.shape[1] > 4:
            y = y + 1
        return self.head(y.mean((2, 3)))


class Two(nn.Module):
    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Tensor]:
        return {"scaled": x * scale, "sum": x.sum()}


def scripted(make: Callable[..., torch.jit.ScriptModule], *given: object) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*given)


def verified(loaded: LoadedModel) -> None:
    verify_import(import_model(loaded), [torch.from_numpy(array) for array in loaded.sample])


FORMS = {
    "traced": lambda net: scripted(torch.jit.trace, net, torch.zeros(SHAPE)),
    "scripted": lambda net: scripted(torch.jit.script, net),
    "frozen": lambda net: scripted(torch.jit.freeze, scripted(torch.jit.script, net)),
}


@pytest.mark.parametrize("suffix", [".pt", ".torchscript"])
@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_the_model_it_was_made_of(tmp_path: Path, form: str, suffix: str) -> None:
    net = Net().eval()
    path = tmp_path / f"net{suffix}"
    FORMS[form](net).save(str(path))
    loaded = load(str(path), input_shape=SHAPE)
    assert loaded.input_shape == SHAPE
    (made,) = loaded.run(*loaded.sample)
    wanted = net(torch.from_numpy(loaded.sample[0])).detach().numpy()
    np.testing.assert_allclose(made, wanted, atol=1e-6)
    verified(loaded)


def test_a_module_with_several_inputs_by_name() -> None:
    given = [InputSpec((1, 4), name="scale"), InputSpec((3, 4), name="x")]
    loaded = from_module(scripted(torch.jit.script, Two()), "two", inputs=given)
    assert [spec.name for spec in loaded.inputs] == ["x", "scale"]
    assert len(import_model(loaded).graph.outputs) == 2
    with pytest.raises(ModelError, match=r"takes 2 inputs \(x, scale\)"):
        from_module(scripted(torch.jit.script, Two()), "two")


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    FORMS["scripted"](Net().eval()).save(str(path))
    with pytest.raises(UsageError, match="carries its weights"):
        load(str(path), weights="w.pth", input_shape=SHAPE)
    with pytest.raises(ModelError, match="failed"):
        load(str(path), input_shape=(1, 4, 9, 7))
    damaged = tmp_path / "damaged.pt"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(damaged, "w") as out:
        for name in archive.namelist():
            out.writestr(name, archive.read(name).replace(b"def forward", b"fed forward"))
    with pytest.raises(ModelError, match="is not readable TorchScript"):
        load(str(damaged), input_shape=SHAPE)


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    net = Net().to(dtype)
    loaded = from_module(net, "net", input_shape=SHAPE)
    assert next(net.parameters()).dtype == dtype  # the user's stays
    assert loaded.remarks == (
        f"weights of {str(dtype).removeprefix('torch.')} are computed in float32",
    )
    (made,) = loaded.run(*loaded.sample)
    assert made.dtype == np.float32
    verified(loaded)
