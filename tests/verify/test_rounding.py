"""Networks that fp32 is hard on are compared with fp64; others with more samples than one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tvm_flow
from tests.verify.networks import Computes
from tvm_flow.api.proof import Proof
from tvm_flow.frontend.model import LoadedModel, from_module, load
from tvm_flow.support.errors import NumericsError
from tvm_flow.verify.rounding import Rounding, rounding_of
from tvm_flow.verify.samples import more_samples

SHAPE = (1, 3, 6, 5)


class Cancelling(nn.Module):
    """Takes almost the same numbers from each other: three digits of fp32 are left, and which
    depends on the order of the sum."""

    example_input_shape = SHAPE

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            self.stem, self.head = nn.Conv2d(3, 128, 1), nn.Conv2d(128, 4, 1, bias=False)
            for parameter in self.stem.parameters():
                parameter[64:] = parameter[:64] * (1 + 1e-4)
            self.head.weight[:, 64:] = -self.head.weight[:, :64]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.relu(self.stem(x)))
        return y


def loaded(module: nn.Module, sample: Path | None = None) -> LoadedModel:
    return from_module(module, "network", input_shape=SHAPE, sample=sample)


def test_a_network_fp32_is_hard_on_is_compared_with_fp64(tmp_path: Path) -> None:
    made = tvm_flow.compile(Cancelling(), output=tmp_path / "b", records=tmp_path)
    assert made.verified is not None
    assert made.verified.max_rel_error > 1e-4, "then this network shows nothing"
    assert made.verified.remark.startswith("off fp64 by ")
    assert "PyTorch's own fp32 by" in made.verified.remark
    document = json.loads((made.path / "manifest.json").read_text())
    assert document["verified"]["rounding"] == made.verified.remark
    assert tvm_flow.check(made.path).tolerance == made.verified.tolerance < 5e-2
    assert document["verified"]["samples"]["count"] == 6


def test_farther_than_rounding_explains_is_wrong() -> None:
    model = loaded(Cancelling())
    expected = model.run(*model.sample)
    proof = Proof(model, "NCHW", "bundle", None)
    tolerance = proof.expect(1e-3, expected, 1e-4)
    assert proof.rounding is not None
    assert tolerance > 1e-4
    exact = proof.rounding.exact
    assert exact is not None
    assert proof.rounding.distance(exact, expected) == 0.0
    off = [y * (1 + 2 * proof.rounding.allowed) for y in exact]
    report = tvm_flow.CheckReport(0.0, tolerance, 1)
    with pytest.raises(NumericsError, match="wrong values for its sample: off fp64 by"):
        proof._own(report, off)


def test_of_other_networks_nothing_is_explained_by_rounding() -> None:
    model = loaded(nn.Conv2d(3, 4, 3))
    proof = Proof(model, "NCHW", "bundle", None)
    expected = model.run(*model.sample)
    assert proof.expect(1e-4, expected, 1e-4) == 1e-4
    assert proof.rounding is None


def test_a_module_stays_as_it_is_when_it_is_run_in_fp64() -> None:
    module = Cancelling()
    before = [(parameter.data_ptr(), parameter.dtype) for parameter in module.parameters()]
    (exact,) = loaded(module).run_in_double(*loaded(module).sample) or [None]
    assert exact is not None
    assert exact.dtype == np.float64
    assert before == [(parameter.data_ptr(), parameter.dtype) for parameter in module.parameters()]


def test_what_makes_fp32_itself_is_computed_in_fp64_as_well() -> None:
    model = loaded(Computes(lambda x: x.float() / 3 + torch.ones(5).cumsum(0)))
    (exact,) = model.run_in_double(*model.sample) or [None]
    assert exact is not None
    wanted = model.sample[0].astype(np.float64) / 3 + np.arange(1, 6)
    np.testing.assert_allclose(exact, wanted, rtol=1e-15)


class Strict(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype is not torch.float32:
            raise TypeError("fp32 only")
        return x * 2


def rounding_at_sample(model: LoadedModel) -> Rounding:
    exact = model.run_in_double(*model.sample)
    return rounding_of(model, model.sample, model.expected, exact)


def test_without_fp64_numbers_are_a_rounding_off() -> None:
    model = loaded(Strict())
    rounding = rounding_at_sample(model)
    assert rounding.exact is None
    assert 0 < rounding.moved < 1e-6


def test_an_exported_program_runs_in_fp64(tmp_path: Path) -> None:
    program = torch.export.export(Cancelling().eval(), (torch.zeros(SHAPE),))
    torch.export.save(program, tmp_path / "net.pt2")
    model = load(str(tmp_path / "net.pt2"))
    (exact,) = model.run_in_double(*model.sample) or [None]
    assert exact is not None
    assert exact.dtype == np.float64
    assert rounding_at_sample(model).own > 1e-4


def test_writing_in_place_and_views_stay_what_they_are() -> None:
    class Partial(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.zeros_like(x)
            y[:, :1] = x[:, :1] * 3
            y[:, 1:].add_(x[:, 1:])
            return y

    model = loaded(Partial())
    rounding = rounding_at_sample(model)
    assert rounding.exact is not None
    assert rounding.own < 1e-6
    assert 0 < rounding.moved < 1e-6


def test_more_samples() -> None:
    samples = more_samples(loaded(nn.Conv2d(3, 4, 3)))
    assert [sample.name for sample in samples][:2] == ["a large mean", "zeros"]
    assert len(samples) == 6
    assert all(np.isfinite(array).all() for sample in samples for array in sample.inputs)


def test_samples_outside_of_the_domain_are_left_out(tmp_path: Path) -> None:
    names = {sample.name for sample in more_samples(loaded(Computes(lambda x: x.abs().log())))}
    assert "zeros" not in names
    assert "ones" in names
    np.save(tmp_path / "own.npy", np.ones(SHAPE, np.float32))
    assert more_samples(loaded(nn.Conv2d(3, 4, 3), tmp_path / "own.npy")) == []


def test_a_network_wrong_for_one_sample_is_refused() -> None:
    model = loaded(nn.Conv2d(3, 4, 3))
    proof = Proof(model, "NCHW", "bundle", None)
    sample = more_samples(model)[0]
    assert proof._error(sample, sample.expected, 1e-4) == 0.0
    wrong = [y + 0.01 * np.abs(y).max() for y in sample.expected]
    with pytest.raises(NumericsError, match="wrong values for a large mean: off fp64 by 1"):
        proof._error(sample, wrong, 1e-4)


def test_where_the_model_jumps_a_jump_is_no_error(tmp_path: Path) -> None:
    """Of a constant input every pixel is the mean, but for rounding."""
    model = Computes(lambda x: (x * 0.7 > (x * 0.7).mean()) * x)
    made = tvm_flow.compile(
        tvm_flow.Model(model, input_shape=(1, 3, 7, 5)), output=tmp_path / "b", records=tmp_path
    )
    assert made.samples is not None


@pytest.mark.slow
def test_comparing_takes_little_of_a_compilation(tmp_path: Path) -> None:
    """The least of three: other work on the machine may come in between."""
    made = [
        tvm_flow.compile("fasternet_t0", output=tmp_path / "b", records=tmp_path) for _ in range(3)
    ]
    assert min(report.verifying / report.seconds for report in made) <= 0.15
