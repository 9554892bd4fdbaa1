"""Compute an imported graph node by node: what the import means, without the passes."""

from __future__ import annotations

import numpy as np
import torch

from tvm_flow.ir.graph import Graph
from tvm_flow.verify.evaluate import Evaluator


def evaluate(graph: Graph, *inputs: np.ndarray) -> list[np.ndarray]:
    """Outputs of ``graph`` in order."""
    outputs = Evaluator(graph).run([torch.from_numpy(x) for x in inputs])
    return [output.numpy() for output in outputs]
