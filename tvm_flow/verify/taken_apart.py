"""A model exported and taken apart against the model itself: everything later is compared with
the program that is left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from tvm_flow.frontend.inputs import Array
from tvm_flow.frontend.model import LoadedModel
from tvm_flow.measure.stats import worst_rel_error
from tvm_flow.support.errors import ImportUnsupportedError
from tvm_flow.verify.compare import TOLERANCE
from tvm_flow.verify.rounding import MULTIPLE, rounding_of


def require_outputs(loaded: LoadedModel, outputs: Sequence[Tensor]) -> None:
    """Raise :class:`ImportUnsupportedError` where ``outputs``, the program's for the sample, are
    not what the model gives, but for what rounding explains."""
    if loaded.module is None:  # an ONNX graph is imported as it is
        return
    made = [output.detach().numpy() for output in outputs]
    if why := _other_kind(made, loaded.expected):
        raise _wrong(loaded, why)
    error = worst_rel_error(made, loaded.expected)
    if error <= TOLERANCE:
        return
    exact = loaded.run_in_double(*loaded.sample)
    rounding = rounding_of(loaded, loaded.sample, loaded.expected, exact)
    if not error <= rounding.jumps * (1 + 1 / MULTIPLE):
        raise _wrong(loaded, f"its outputs are off by {error:.2g} of the largest value")


def _other_kind(made: Sequence[Array], expected: Sequence[Array]) -> str:
    if len(made) != len(expected):
        return f"it returns {len(made)} tensors instead of {len(expected)}"
    for number, (a, b) in enumerate(zip(made, expected, strict=True)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"output {number} is {_kind(a)} instead of {_kind(b)}"
    return ""


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {'x'.join(map(str, array.shape))}".strip()


def _wrong(loaded: LoadedModel, why: str) -> ImportUnsupportedError:
    return ImportUnsupportedError(
        f"The import of {loaded.name} is wrong",
        why=f"exported and taken apart into PyTorch's core operators, {why}",
        fix="write the model in another way, and report it",
    )
