from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that says whether a picture is red, green or blue; it takes 40 x 32 pixels."""
    import torch  # noqa: PLC0415 - with TVM seconds, and other tests of this folder need neither
    from torch import nn  # noqa: PLC0415

    import tvm_flow  # noqa: PLC0415

    conv, head = nn.Conv2d(3, 8, 1, bias=False), nn.Linear(8, 3)
    with torch.no_grad():
        nn.init.dirac_(conv.weight)
        nn.init.eye_(head.weight)
        nn.init.zeros_(head.bias)
    network = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    folder = tmp_path_factory.mktemp("embedding")
    made = tvm_flow.compile(
        tvm_flow.Model(network, input_shape=(1, 3, 32, 40)),
        output=folder / "colours",
        labels=["red", "green", "blue"],
        threads=1,
        records=folder / "none",
    )
    return made.path
