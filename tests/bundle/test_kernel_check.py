"""Kernels for a board are run under QEMU when they are compiled; a wrong one is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tvm_flow
from tvm_flow import targets
from tvm_flow.api.networks import load_model, optimised
from tvm_flow.backends import backend_of
from tvm_flow.bundle import kernel_check
from tvm_flow.bundle.kernel_check import KernelCheck, check_kernels
from tvm_flow.bundle.write import BundleOptions, fill_bundle
from tvm_flow.ir.lowered import Lowered
from tvm_flow.support.errors import EnvironmentFault, NumericsError


class Net(nn.Module):
    """Two kernels of ours, and operators that TVM makes code of: one takes indices."""

    example_input_shape = (1, 3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 4, 1)
        self.register_buffer("order", torch.tensor([3, 1, 2, 0]))

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(torch.relu(self.stem(x)))
        return torch.log_softmax(y.index_select(1, self.order), 1)


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What has passed is remembered here."""
    monkeypatch.setattr(kernel_check, "cache_root", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def lowered() -> Lowered:
    backend, board = backend_of("cpu"), targets.load("rk3399")
    graph = optimised(load_model(Net()), backend, board, "NCHW").graph
    return backend.lower(graph, board)


def checked(lowered: Lowered, folder: Path) -> KernelCheck:
    found: list[KernelCheck] = []

    def prove(*given: Any) -> dict[str, Any]:
        found.append(check_kernels(*given))
        return {}

    folder.mkdir()
    sample = [np.zeros(info.shape, info.dtype) for info in lowered.inputs]
    expected = [np.zeros(info.shape, info.dtype) for info in lowered.outputs]
    fill_bundle(folder, lowered, sample, expected, BundleOptions(), prove)
    return found[0]


@pytest.mark.system("emulate")
def test_every_kernel_is_run_once_per_build(lowered: Lowered, tmp_path: Path, marks: Path) -> None:
    first = checked(lowered, tmp_path / "first")
    assert (first.passed, first.cached) == (first.total, 0)
    assert first.total > len({kernel.symbol for kernel in lowered.kernels}), "TVM's own as well"
    assert str(first).startswith(f"kernels verified under QEMU ({first.total} of {first.total}) in")
    again = checked(lowered, tmp_path / "again")
    assert (again.passed, again.cached) == (again.total, again.total)
    assert f"{again.total} from cache" in str(again)
    next(iter((marks / "verified-kernels").iterdir())).unlink()
    assert checked(lowered, tmp_path / "third").cached == first.total - 1


@pytest.mark.system("emulate")
def test_a_wrong_kernel_is_named(lowered: Lowered, tmp_path: Path, marks: Path) -> None:
    """One that is to compute something else."""
    stem, *others = lowered.kernels
    assert "act=relu" in stem.problem
    wrong = replace(stem, problem=stem.problem.replace("act=relu", "act=gelu"))
    with pytest.raises(NumericsError) as caught:
        checked(replace(lowered, kernels=[wrong, *others]), tmp_path / "wrong")
    text = str(caught.value)
    assert f"the kernel {stem.symbol} of stem" in text
    assert "wrong on rk3399: run under QEMU, it computes conv2d(act=gelu" in text
    assert "it is off by" in text
    assert caught.value.exit_code == 8
    assert not (marks / "verified-kernels").exists()


@pytest.mark.system("emulate")
def test_a_kernel_that_does_not_run_is_named(lowered: Lowered, tmp_path: Path) -> None:
    """One that is to compute a smaller shape: the runtime refuses to call it."""
    stem, *others = lowered.kernels
    wrong = replace(stem, problem=stem.problem.replace("h=8", "h=4"))
    with pytest.raises(
        NumericsError, match=f"the kernel {stem.symbol} of stem.*by direct: .*larger tensors"
    ):
        checked(replace(lowered, kernels=[wrong, *others]), tmp_path / "wrong")


@pytest.mark.system("emulate")
def test_an_emulator_that_does_not_work_is_no_error(
    lowered: Lowered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_check, "emulator_command", lambda _board: ["/bin/false"])
    assert str(checked(lowered, tmp_path / "b")).startswith("kernels not run yet: it ends with 1")


@pytest.mark.system("emulate")
def test_what_time_is_left_for(
    lowered: Lowered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_check, "BUDGET_S", 0.0)
    done = checked(lowered, tmp_path / "b")
    assert done.passed == 0
    assert str(done) == "kernels not run yet: 0 s were spent, compile again to go on"


def test_without_an_emulator_nothing_is_run_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_board: targets.Board) -> list[str]:
        raise EnvironmentFault("Cannot", why="no qemu-aarch64 here", fix="sudo apt-get install it")

    monkeypatch.setattr(kernel_check, "emulator_command", missing)
    report = tvm_flow.compile(Net(), output=tmp_path / "b", target="rk3399")
    assert report.foreign_kernels is not None
    told = "kernels not run yet: no qemu-aarch64 here, sudo apt-get install it"
    assert str(report.foreign_kernels) == told
    document = json.loads((report.path / "manifest.json").read_text())
    assert document["verified"]["network"] is False
    assert document["verified"]["kernels"]["passed"] == 0
