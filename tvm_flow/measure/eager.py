"""PyTorch eager as a competitor: as it is, with BN folded, and with BN folded in channels_last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.fx.experimental import optimization

from tvm_flow.support.errors import ModelError

Array = NDArray[np.float32]
VARIANTS = ("eager", "eager_bn_folded", "eager_channels_last")


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy with every batch norm folded into the convolution or linear layer before it; the
    module itself where it has none (a ``.pt2`` holds operators, not modules).

    Raises :class:`ModelError` where torch.fx cannot trace the module.
    """
    if not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        return module
    try:
        folded: nn.Module = optimization.fuse(fx.symbolic_trace(module.eval()))
    except Exception as error:  # tracing runs the model's own code: anything may come out
        raise ModelError(
            "batch norm cannot be folded in eager mode",
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="compare with plain eager",
        ) from error
    return folded.eval()


def load_module(
    spec: str, *, weights: str | None = None, input_shape: tuple[int, ...] | None = None
) -> nn.Module:
    """The PyTorch module of a model specification. Raises what the frontend raises, and
    :class:`ModelError` for ONNX."""
    # Here and not above: a pickled module has no need of it.
    from tvm_flow.frontend.model import load  # noqa: PLC0415

    module = load(spec, weights=weights, input_shape=input_shape).module
    if module is None:
        raise ModelError(
            f"{spec} cannot be compared with PyTorch eager",
            why="an ONNX file has no PyTorch module",
            fix="pass the PyTorch model it was exported from",
        )
    return module


class EagerRun:
    """One eager variant with its input in place; a ``Runnable`` of ``timing_worker``."""

    def __init__(self, module: nn.Module, variant: str) -> None:
        self._format = torch.contiguous_format
        if variant != "eager":
            module = fold_batch_norm(module)
        if variant == "eager_channels_last":
            self._format = torch.channels_last
        # Torch's own stubs lack this overload of Module.to.
        self._module = module.eval().to(memory_format=self._format)  # type: ignore[call-overload]
        self._input = torch.empty(0)

    def set_input(self, array: Array) -> None:
        self._input = torch.from_numpy(array).contiguous(memory_format=self._format)

    @torch.inference_mode()
    def run(self) -> Any:
        return self._module(self._input)

    def output(self) -> list[Array]:
        """All outputs: the model returns one tensor, or a flat tuple or list of them."""
        result = self.run()
        parts = result if isinstance(result, tuple | list) else [result]
        return [part.contiguous().numpy() for part in parts]


def contestant(
    *,
    threads: int,
    variant: str,
    spec: str = "",
    weights: str | None = None,
    input_shape: list[int] | None = None,
    pickled: str = "",
) -> EagerRun:
    """Make one of :data:`VARIANTS` in this process, limited to ``threads``.

    The module comes from ``pickled`` (a file ``torch.save`` wrote in this very comparison) or from
    the model ``spec`` as the frontend understands it.
    """
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    if pickled:
        module = torch.load(Path(pickled), weights_only=False)
    else:
        shape = tuple(input_shape) if input_shape else None
        module = load_module(spec, weights=weights, input_shape=shape)
    return EagerRun(module, variant)
