"""A bundle against eager PyTorch, end to end on a tiny network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import tvm_flow
from tests.bundle.arrays import SHAPE, sample
from tests.bundle.modules import Everything, OwnDomain, Tiny, TwoHeads, Untraceable
from tvm_flow.measure.eager import EagerRun, fold_batch_norm, load_module
from tvm_flow.report.compare import compare, numerics
from tvm_flow.support.errors import ModelError, UsageError


@pytest.mark.timeout(120)
def test_compare(pristine: Path) -> None:
    (result,) = compare(Tiny(), pristine, threads=(1,), rounds=2, round_s=0.05, inputs=[sample()])
    document = json.loads(json.dumps(result.to_json()))
    assert document["model"] == "tiny"
    assert document["threads"] == 1
    assert document["input_shape"] == list(SHAPE)
    assert (document["inputs_compared"], document["outputs_compared"]) == (5, 1)
    assert document["max_rel_error"] < 1e-5
    assert document["cosine"] > 0.99999
    assert document["top1_agreement"] == 1
    for name in ("eager", "eager_bn_folded", "eager_channels_last", "bundle"):
        times = document[name]
        assert 0 < times["p10_ms"] <= times["median_ms"] <= times["p90_ms"]
    assert document["speedup"] == pytest.approx(
        result.eager.median_ms / result.bundle.median_ms, rel=0.5
    )
    assert document["speedup_best_eager"] <= document["speedup"] * 1.2
    assert document["valid"] == (document["reason"] == "")


def test_a_wrong_bundle_is_seen(pristine: Path) -> None:
    """The same network with other weights: numbers must differ, not be assumed."""
    other = Tiny()
    nn.init.normal_(other.conv.weight)
    (result,) = compare(other, pristine, threads=(1,), rounds=1, round_s=0.01)
    assert result.numerics.max_rel_error > 0.01


def test_inputs_of_another_shape_are_refused(pristine: Path) -> None:
    with pytest.raises(UsageError, match="shape"):
        compare(Tiny(), pristine, inputs=[np.zeros((1, 3, 8, 8), np.float32)])


@pytest.mark.parametrize("variant", ["eager", "eager_bn_folded", "eager_channels_last"])
def test_eager_variants_compute_the_same(variant: str) -> None:
    module = Tiny()
    module.bn.running_mean.normal_()
    module.bn.running_var.uniform_(0.5, 2)
    with torch.inference_mode():
        expected = module(torch.from_numpy(sample())).numpy()
    run = EagerRun(module, variant)
    run.set_input(sample())
    np.testing.assert_allclose(run.output(), [expected], atol=1e-5)


def test_channels_come_last_in_images_and_volumes() -> None:
    module = nn.Sequential(nn.Conv3d(2, 3, 2), nn.Flatten(1, 2), nn.Conv2d(3, 2, 2))
    given = np.random.default_rng(0).standard_normal((2, 2, 2, 5, 6)).astype(np.float32)
    with torch.inference_mode():
        expected = module(torch.from_numpy(given)).numpy()
    run = EagerRun(module, "eager_channels_last")
    run.set_input(given)
    np.testing.assert_allclose(run.output(), [expected], atol=1e-5)
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert module[2].weight.is_contiguous(memory_format=torch.channels_last)


def test_folding_leaves_no_batch_norm_and_the_original_alone() -> None:
    module = Tiny()
    folded = fold_batch_norm(module)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    assert any(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def test_a_module_that_cannot_be_traced() -> None:
    with pytest.raises(ModelError, match="cannot be folded"):
        fold_batch_norm(Untraceable())


def test_without_the_variants_that_are_impossible(pristine: Path) -> None:
    (result,) = compare(Untraceable(), pristine, threads=(1,), rounds=1, round_s=0.01)
    document = result.to_json()
    assert document["eager_bn_folded"] is None
    assert document["eager_channels_last"] is None
    assert document["speedup"] == document["speedup_best_eager"] > 0
    assert document["max_rel_error"] < 1e-5


def test_onnx_has_no_eager_form(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in "xy")
    graph = helper.make_graph([node], "g", [x], [y])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        tmp_path / "m.onnx",
    )
    with pytest.raises(ModelError, match="ONNX"):
        load_module(str(tmp_path / "m.onnx"))


@pytest.mark.parametrize("layout", ["nchw", pytest.param("nhwc", marks=pytest.mark.slow)])
def test_every_output_is_compared(tmp_path: Path, layout: str) -> None:
    """Two heads, of which the second is another network's in the second comparison."""
    options = {"records": tmp_path, "threads": 1, "layout": layout}
    made = tvm_flow.compile(TwoHeads(), output=tmp_path / "b", **options)
    (right,) = compare(TwoHeads(), made, threads=(1,), rounds=1, round_s=0.01)
    assert (right.numerics.outputs, right.numerics.inputs) == (2, 4)
    assert right.numerics.max_rel_error < 1e-5
    (wrong,) = compare(TwoHeads(scale=1.5), made, threads=(1,), rounds=1, round_s=0.01)
    assert wrong.numerics.max_rel_error == pytest.approx(1 / 3, rel=1e-3)
    assert wrong.numerics.top1_agreement == 1, "of the first output"


def test_a_bundle_of_another_model(pristine: Path) -> None:
    """With other outputs: nothing to compare."""
    with pytest.raises(UsageError, match=r"gives 1x8, 1x8x16x16 and the bundle 1x8"):
        compare(TwoHeads(), pristine, threads=(1,), rounds=1, round_s=0.01)


def test_numerics() -> None:
    a = np.array([[1, 2, 3]], np.float32)
    same = numerics([[a], [a]], [[a], [a]])
    assert (same.max_rel_error, same.top1_agreement, same.inputs, same.outputs) == (0, 1, 2, 1)
    assert same.cosine == pytest.approx(1)
    differs = numerics([[a], [a[:, ::-1]]], [[a], [a]])
    assert differs.max_rel_error == pytest.approx(2 / 3)
    assert differs.top1_agreement == 0.5
    assert differs.cosine == pytest.approx(10 / 14)
    assert numerics([[a * np.nan]], [[a]]).max_rel_error == float("inf")
    second = numerics([[a, a[:, ::-1]]], [[a, a]])
    assert (second.max_rel_error, second.outputs) == (pytest.approx(2 / 3), 2)
    assert second.top1_agreement == 1


def test_several_inputs_and_outputs_of_all_kinds(tmp_path: Path) -> None:
    """With integers that stay in their table, and an input that is passed by its name."""
    inputs = (
        tvm_flow.Input((1, 3, 4, 6)), tvm_flow.Input((1, 5), "int64", "ids"),
        tvm_flow.Input((), name="scale"),
    )  # fmt: skip
    model = tvm_flow.Model(Everything(), inputs=inputs)
    made = tvm_flow.compile(model, output=tmp_path / "b", records=tmp_path, threads=1).path
    further = [np.ones((1, 3, 4, 6), np.float32), np.full((1, 5), 6), np.array(2, np.float32)]
    weights = str(tmp_path / "w.pth")
    torch.save(model.source.state_dict(), weights)
    named = "tests/bundle/modules.py:Everything"
    (result,) = compare(
        named, made, threads=(1,), rounds=1, round_s=0.01, inputs=[further], weights=weights
    )
    assert (result.numerics.outputs, result.numerics.inputs) == (7, 5)
    assert result.numerics.max_rel_error < 1e-5
    with pytest.raises(UsageError, match=r"to compare is \(1, 3, 4, 6\) float32: the bundle"):
        compare(model.source, made, inputs=[further[:1]])


@pytest.mark.slow
def test_a_sample_of_its_own_domain(tmp_path: Path) -> None:
    """Other inputs are the sample's values in another order: a logarithm has no negative ones."""
    made = tvm_flow.compile(OwnDomain(), output=tmp_path / "b", records=tmp_path, threads=1).path
    (result,) = compare(OwnDomain(), made, threads=(1,), rounds=1, round_s=0.01)
    assert result.numerics.max_rel_error < 1e-5
