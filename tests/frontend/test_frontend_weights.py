"""Checkpoints: what loads, and what is refused with the names of the tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.frontend.user_models import Small
from tvm_flow.frontend.model import load
from tvm_flow.frontend.weights import apply_weights
from tvm_flow.support.errors import ModelError, UsageError

SPEC = f"{Path(__file__).with_name('user_models.py')}:small"


@pytest.fixture
def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in Small().state_dict().items()
    }


def loaded(path: Path) -> dict[str, Tensor]:
    module = load(SPEC, weights=str(path)).module
    assert module is not None
    return module.state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_safetensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "w.safetensors")
    assert same(loaded(tmp_path / "w.safetensors"), state)


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "parallel"])
def test_checkpoints(tmp_path: Path, state: dict[str, Tensor], wrap: str) -> None:
    saved: dict[str, Any] = {
        "plain": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        "model": {"model": state},
        "parallel": {f"module.{name}": value for name, value in state.items()},
    }[wrap]
    torch.save(saved, tmp_path / "w.pth")
    assert same(loaded(tmp_path / "w.pth"), state)


def test_half_precision_becomes_fp32(tmp_path: Path, state: dict[str, Tensor]) -> None:
    halved = {n: v.half() if v.is_floating_point() else v for n, v in state.items()}
    torch.save(halved, tmp_path / "w.pt")
    got = loaded(tmp_path / "w.pt")
    assert got["body.0.weight"].dtype == torch.float32
    assert torch.equal(got["body.0.weight"], halved["body.0.weight"].float())


def test_old_checkpoint_without_batch_counters(tmp_path: Path, state: dict[str, Tensor]) -> None:
    del state["body.1.num_batches_tracked"]
    save_file(state, tmp_path / "w.safetensors")
    assert torch.equal(loaded(tmp_path / "w.safetensors")["body.0.bias"], state["body.0.bias"])


def change(state: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    weight = state["body.0.weight"]
    if how == "missing":
        return {n: v for n, v in state.items() if n != "body.0.weight"}
    if how == "unexpected":
        return {**state, "head.bias": torch.ones(3), "head.weight": torch.ones(3)}
    new = {
        "shape": weight[:, :2].clone(),
        "integer": weight.to(torch.int8),
        "nan": weight * torch.nan,
    }[how]
    return {**state, "body.0.weight": new}


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("missing", "lacks tensors of the model: body.0.weight"),
        ("unexpected", "has tensors the model does not know: head.bias, head.weight"),
        ("shape", "another shape: body.0.weight is 4x2x3x3 and not 4x3x3x3"),
        ("integer", "not floating point: body.0.weight is torch.int8"),
        ("nan", "tensor body.0.weight of the model has NaN or infinity in 108 of 108"),
    ],
)
def test_mismatch(tmp_path: Path, state: dict[str, Tensor], how: str, says: str) -> None:
    save_file(change(state, how), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=says) as caught:
        loaded(tmp_path / "w.safetensors")
    assert "\n" not in str(caught.value)


def test_only_the_first_few_are_named(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"body.0.weight, body.0.bias, body.1.weight and 3 more"):
        loaded(tmp_path / "w.safetensors")


def test_pickle_with_code_is_refused(tmp_path: Path) -> None:
    torch.save(Small(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"were refused.*run code.*Fix: save only the tensors"):
        loaded(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 50])
def test_damaged(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot be read|were refused"):
        loaded(tmp_path / name)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_cut_off(tmp_path: Path, state: dict[str, Tensor], name: str) -> None:
    path = tmp_path / name
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="cannot be read"):
        loaded(path)


@pytest.mark.parametrize("saved", [[1, 2], {"epoch": 3}, {}, torch.ones(3)])
def test_not_a_state_dict(tmp_path: Path, saved: Any) -> None:
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="are not a state dict"):
        loaded(tmp_path / "w.pth")


def test_missing_file_and_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="do not exist"):
        loaded(tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"unknown format.*safetensors"):
        loaded(tmp_path / "w.bin")


def test_weights_with_a_file_that_has_its_own() -> None:
    with pytest.raises(UsageError, match="carries its weights"):
        load("net.pt2", weights="w.pth")


def test_nothing_is_changed_by_a_refused_file(tmp_path: Path, state: dict[str, Tensor]) -> None:
    model: nn.Module = Small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_file(change(state, "shape"), tmp_path / "w.safetensors")
    with pytest.raises(ModelError):
        apply_weights(model, str(tmp_path / "w.safetensors"))
    assert same(before, model.state_dict())
