"""A model argument of any kind -> a checked model and its graph."""

from __future__ import annotations

from tvm_flow.api.values import ModelLike, model_value
from tvm_flow.frontend.export import to_graph
from tvm_flow.frontend.forward import check_forward
from tvm_flow.frontend.model import DEFAULT_SHAPE, LoadedModel, load
from tvm_flow.frontend.weights import check_tensors, named_tensors
from tvm_flow.support.errors import UsageError

__all__ = ["LoadedModel", "load_model", "to_graph"]


def load_model(model: ModelLike) -> LoadedModel:
    """A spec as :func:`tvm_flow.frontend.model.load` takes it, or a module.

    A module is switched to eval mode; its input shape is the one given, else its own
    ``example_input_shape``, else 1x3x224x224. Raises :class:`UsageError`, :class:`ModelError`.
    """
    given = model_value(model)
    module = given.source
    if isinstance(module, str):
        return load(module, weights=given.weights, input_shape=given.input_shape)
    if given.weights is not None:
        raise UsageError(
            "weights cannot be used with a module",
            why="a module already has some",
            fix="load them with module.load_state_dict",
        )
    shape = given.input_shape or tuple(getattr(module, "example_input_shape", DEFAULT_SHAPE))
    check_tensors(named_tensors(module.eval()))
    check_forward(module, shape)
    name = type(module).__name__
    return LoadedModel(module, None, None, shape, name, name)
