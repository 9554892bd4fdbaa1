"""PyTorch eager as a competitor: as it is, with BN folded, and with BN folded in channels_last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.fx.experimental import optimization

from tvm_flow.frontend.forward import call, named_outputs
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.support.errors import ModelError

Array = NDArray[Any]
VARIANTS = ("eager", "eager_bn_folded", "eager_channels_last")
#: Formats with the channels last, by number of dimensions.
_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


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
    spec: str,
    *,
    weights: str | None = None,
    inputs: Sequence[InputSpec] = (),
) -> tuple[nn.Module, tuple[str, ...]]:
    """The PyTorch module of a model specification, and the names of the inputs, the last, that it
    takes by their names. Raises what the frontend raises, and :class:`ModelError` for ONNX."""
    # Here and not above: a pickled module has no need of it.
    from tvm_flow.frontend.model import load  # noqa: PLC0415

    loaded = load(spec, weights=weights, inputs=inputs)
    if loaded.module is None:
        raise ModelError(
            f"{spec} cannot be compared with PyTorch eager",
            why="an ONNX file has no PyTorch module",
            fix="pass the PyTorch model it was exported from",
        )
    return loaded.module, loaded.keywords


class EagerRun:
    """One eager variant with its inputs in place; a ``Runnable`` of ``timing_worker``."""

    def __init__(self, module: nn.Module, variant: str, keywords: Sequence[str] = ()) -> None:
        if variant != "eager":
            module = fold_batch_norm(module)
        self._last = variant == "eager_channels_last"
        self._module, self._keywords = module.eval(), keywords
        for stored in (*module.parameters(), *module.buffers()):
            stored.data = self._placed(stored.data)
        self._inputs: list[torch.Tensor] = []

    def set_input(self, *arrays: Array) -> None:
        self._inputs = [self._placed(torch.from_numpy(array)) for array in arrays]

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """Only tensors of images and volumes can have their channels last."""
        last = _LAST.get(tensor.ndim) if self._last else None
        return tensor.contiguous(memory_format=last or torch.contiguous_format)

    @torch.inference_mode()
    def run(self) -> Any:
        return call(self._module, self._inputs, self._keywords)

    @torch.inference_mode()
    def output(self) -> list[Array]:
        """All outputs, in the order of the bundle's. The inputs stay as they are, also where the
        model writes to them."""
        given = [tensor.clone() for tensor in self._inputs]
        result = call(self._module, given, self._keywords)
        return [part.contiguous().numpy() for _, part in named_outputs(result)]


def contestant(
    *,
    threads: int,
    variant: str,
    spec: str = "",
    weights: str | None = None,
    inputs: Sequence[Sequence[Any]] = (),
    keywords: Sequence[str] = (),
    pickled: str = "",
) -> EagerRun:
    """Make one of :data:`VARIANTS` in this process, limited to ``threads``.

    The module comes from ``pickled`` (a file ``torch.save`` wrote in this very comparison) or from
    the model ``spec`` as the frontend understands it, for ``inputs`` (shape, type and name of
    each). The last of them, ``keywords``, are passed by their names.
    """
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    if pickled:
        module = torch.load(Path(pickled), weights_only=False)
    else:
        given = [InputSpec(tuple(shape), dtype, name) for shape, dtype, name in inputs]
        module, _ = load_module(spec, weights=weights, inputs=given)
    return EagerRun(module, variant, keywords)
