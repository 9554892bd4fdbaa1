"""A model argument of any kind -> a checked model and its graph."""

from __future__ import annotations

from functools import partial

from tvm_flow.api.values import ModelLike, model_value
from tvm_flow.backends import Backend
from tvm_flow.frontend.export import import_model, to_graph
from tvm_flow.frontend.model import LoadedModel, from_module, load
from tvm_flow.ir.choice import Chooser
from tvm_flow.passes.phases import Observer
from tvm_flow.support.errors import UsageError
from tvm_flow.targets import Board
from tvm_flow.verify.network import VerifiedGraph, verified_graph
from tvm_flow.verify.taken_apart import require_outputs

__all__ = ["LoadedModel", "load_model", "optimised", "to_graph"]


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


def optimised(
    loaded: LoadedModel,
    backend: Backend,
    board: Board | None,
    layout: str,
    observe: Observer | None = None,
    choose: Chooser | None = None,
) -> VerifiedGraph:
    """The graph of a network after all passes, held against the model before and after them.

    ``layout`` is that of 4-D inputs and outputs, in upper case; ``observe`` sees the graph as
    imported and after each pass; ``choose`` has the records to compile by. Raises
    :class:`ModelError`, :class:`ImportUnsupportedError` and :class:`CompileError`.
    """
    phases = backend.phases(board, layout, choose)
    accept = partial(require_outputs, loaded)
    return verified_graph(
        lambda: import_model(loaded), phases, layout, observe, loaded.sample, accept
    )
