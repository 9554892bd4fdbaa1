"""From ``--model`` to the graph the passes work on: load, check, export, import."""

from __future__ import annotations

from tvm_flow.frontend.export import to_graph
from tvm_flow.frontend.model import LoadedModel, load, parse_shape

__all__ = ["LoadedModel", "load", "parse_shape", "to_graph"]
