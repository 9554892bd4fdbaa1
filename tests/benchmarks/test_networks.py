"""What is measured is the same everywhere, and costs what it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import networks
from tvm_flow.support.errors import UsageError


def test_same_weights_and_input_each_time() -> None:
    case = networks.case("shuffle_x1_0_unit_28")
    state = torch.random.get_rng_state()
    first, second = case.module(), case.module()
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    np.testing.assert_array_equal(case.input(), case.input())


def test_cost_counts_macs_and_every_byte_once() -> None:
    cost = networks.cost(networks.case("pconv_pointwise_256_56"))
    pixels, channels = 56 * 56, 256
    assert cost.macs == pixels * (9 * 64 * 64 + channels * channels)
    assert cost.bytes == 4 * (2 * pixels * channels + 9 * 64 * 64 + channels * channels)


def test_every_operator_runs_on_its_shape() -> None:
    for name in networks.OPERATORS:
        case = networks.case(name)
        state = {k: v.to("meta") for k, v in case.module().state_dict().items()}
        inputs = (torch.empty(case.shape, device="meta"),)
        output = torch.func.functional_call(case.module(), state, inputs)
        assert output.shape[0] == 1


def test_names_are_distinct_and_unknown_ones_refused() -> None:
    assert len(set(networks.OPERATORS)) == len(networks.OPERATORS)
    with pytest.raises(UsageError, match="no_such_net"):
        networks.case("no_such_net")
