"""A model argument of any kind -> a checked model and its graph."""

from __future__ import annotations

from torch import nn

from tvm_flow.frontend.export import to_graph
from tvm_flow.frontend.forward import check_forward
from tvm_flow.frontend.model import DEFAULT_SHAPE, LoadedModel, load
from tvm_flow.frontend.weights import check_tensors, named_tensors
from tvm_flow.support.errors import UsageError

__all__ = ["LoadedModel", "load_model", "to_graph"]


def load_model(
    model: str | nn.Module,
    *,
    weights: str | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> LoadedModel:
    """A spec as :func:`tvm_flow.frontend.model.load` takes it, or a module.

    A module is switched to eval mode; its input shape is ``input_shape``, else its own
    ``example_input_shape``, else 1x3x224x224. Raises :class:`UsageError`, :class:`ModelError`.
    """
    if isinstance(model, str):
        return load(model, weights=weights, input_shape=input_shape)
    if weights is not None:
        raise UsageError(
            "weights cannot be used with a module",
            why="a module already has some",
            fix="load them with module.load_state_dict",
        )
    shape = input_shape or tuple(getattr(model, "example_input_shape", DEFAULT_SHAPE))
    check_tensors(named_tensors(model.eval()))
    check_forward(model, shape)
    name = type(model).__name__
    return LoadedModel(model, None, None, shape, name, name)
