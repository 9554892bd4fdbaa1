"""A model argument of any kind -> a checked model and its graph."""

from __future__ import annotations

from tvm_flow.api.values import ModelLike, model_value
from tvm_flow.frontend.export import to_graph
from tvm_flow.frontend.model import LoadedModel, from_module, load
from tvm_flow.support.errors import UsageError

__all__ = ["LoadedModel", "load_model", "to_graph"]


def load_model(model: ModelLike) -> LoadedModel:
    """A spec as :func:`tvm_flow.frontend.model.load` takes it, or a module.

    A module is switched to eval mode; its inputs are those given, else its own, as there. Raises
    :class:`UsageError`, :class:`ModelError`.
    """
    given = model_value(model)
    shape, inputs, sample = given.input_shape, given.inputs, given.sample
    module = given.source
    if isinstance(module, str):
        return load(module, weights=given.weights, input_shape=shape, inputs=inputs, sample=sample)
    if given.weights is not None:
        raise UsageError(
            "weights cannot be used with a module",
            why="a module already has some",
            fix="load them with module.load_state_dict",
        )
    name = type(module).__name__
    return from_module(module, name, input_shape=shape, inputs=inputs, sample=sample)
