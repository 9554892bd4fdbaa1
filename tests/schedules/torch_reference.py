"""Every operator again, with PyTorch in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.contract.tensor import Array
from tvm_flow.verify import problems

ACTIVATIONS = problems.ACTIVATIONS
activated = problems.activated


def compute(workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Array:
    """The operator's output in the layout of its kernel, float64."""
    doubles = {name: torch.from_numpy(w).double() for name, w in weights.items()}
    tensors = [torch.from_numpy(x).double() for x in inputs]
    return np.ascontiguousarray(problems.compute(workload.problem, tensors, doubles).numpy())
