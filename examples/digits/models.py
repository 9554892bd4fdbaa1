"""A small FasterNet and a small ShuffleNet V2, trained on 8 x 8 handwritten digits.

``tvm-flow ... --model examples/digits/models.py:fasternet_digits`` loads this file by its path,
so it imports nothing from beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tvm_flow.models.fasternet import FasterNet
from tvm_flow.models.shufflenet import ShuffleNetV2
from tvm_flow.support.errors import ModelError

INPUT_SHAPE = (1, 1, 32, 32)
WEIGHTS = Path(__file__).resolve().parent / "weights"


class FasterNetDigits(FasterNet):
    """Three stages at 8, 4 and 2 pixels with 24, 48 and 96 channels.

    Shapes: (N, 1, 32, 32) -> (N, 10) logits.
    """

    example_input_shape = INPUT_SHAPE
    weights_file = WEIGHTS / "fasternet_digits.safetensors"

    def __init__(self) -> None:
        super().__init__(24, (1, 2, 2), in_channels=1, num_classes=10, feature_dim=128)


class ShuffleNetDigits(ShuffleNetV2):
    """Two stages at 4 and 2 pixels with 116 and 232 channels, the widths of x1.0.

    Shapes: (N, 1, 32, 32) -> (N, 10) logits.
    """

    example_input_shape = INPUT_SHAPE
    weights_file = WEIGHTS / "shufflenet_digits.safetensors"

    def __init__(self) -> None:
        super().__init__((116, 232, 512), (2, 3), in_channels=1, num_classes=10)


Net = TypeVar("Net", FasterNetDigits, ShuffleNetDigits)


def fasternet_digits() -> FasterNetDigits:
    """The trained FasterNet in eval mode. Raises ``ModelError`` if its weights do not load."""
    return _load(FasterNetDigits)


def shufflenet_digits() -> ShuffleNetDigits:
    """The trained ShuffleNet V2 in eval mode. Raises ``ModelError`` if its weights do not load."""
    return _load(ShuffleNetDigits)


def _load(make: type[Net]) -> Net:
    with torch.device("meta"):  # the random initialisation would be overwritten
        model = make()
    try:
        model.load_state_dict(load_file(make.weights_file), assign=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"The weights in {make.weights_file} cannot be loaded",
            why=str(error).partition("\n")[0].rstrip(":"),
            fix="python -m examples.digits.train, or git checkout the file",
        ) from error
    return model.eval()
