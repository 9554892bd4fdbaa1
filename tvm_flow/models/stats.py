"""Size and cost of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tvm_flow.support.errors import ModelError


def count_parameters(model: nn.Module) -> int:
    """Trainable and frozen parameters; buffers such as batch norm statistics do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-accumulates of one forward pass over one input of ``input_shape``.

    Counts convolutions and matrix products by the direct algorithm (FLOPs are twice this);
    biases, batch norm, activations, pooling and additions do not count. Nothing is computed:
    the pass runs on shapes only, and the model is left as it is.

    Raises ``ModelError`` when the model does not run on that shape.
    """
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: tensor.detach().to("meta") for name, tensor in state.items()}
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            torch.func.functional_call(
                model, shapes, (torch.empty(tuple(input_shape), device="meta"),)
            )
    except (RuntimeError, ValueError) as error:
        shape = "x".join(map(str, input_shape))
        raise ModelError(
            f"{type(model).__name__} does not run on an input of {shape}",
            why=str(error).partition("\n")[0],
            fix="pass the input shape the model was made for, batch first",
        ) from error
    return counter.get_total_flops() // 2
