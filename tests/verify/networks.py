"""Small networks, imported and held against themselves."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from tvm_flow.backends.cpu import phases
from tvm_flow.frontend.export import import_model
from tvm_flow.frontend.model import from_module
from tvm_flow.frontend.source import Imported
from tvm_flow.passes.phases import Phase
from tvm_flow.verify.network import VerifiedGraph, verified_graph

SHAPE = (2, 4, 6, 5)


class Computes(nn.Module):
    """What a function says."""

    def __init__(self, function: Callable[[Tensor], Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(x)


class LastStep(nn.Module):
    """The last step of a recurrent network, over the first channel's rows."""

    example_input_shape = SHAPE

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]) -> None:
        super().__init__()
        self.steps = kind(5, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.steps(x[:, 0])[0][:, -1]
        return last


def imported(module: nn.Module, shape: tuple[int, ...] = SHAPE) -> Imported:
    return import_model(from_module(module, "network", input_shape=shape))


def verified(
    module: nn.Module, shape: tuple[int, ...] = SHAPE, passes: list[Phase] | None = None
) -> VerifiedGraph:
    """The network's graph after ``passes``, by default those of a CPU."""
    return verified_graph(lambda: imported(module, shape), phases() if passes is None else passes)
