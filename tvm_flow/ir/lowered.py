"""What the passes hand to the rest: a Relax module ready to build, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tvm_flow.ir.generic import GenericOperator
from tvm_flow.schedules.contract.problem import Problem, Workload

if TYPE_CHECKING:
    import tvm

    from tvm_flow.targets import Board


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of the network; ``shape`` is in the order of :attr:`Lowered.layout`."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class KernelInfo:
    """Where one kernel of the module comes from.

    ``symbol`` is its name in the module; ``problem`` the key text of what it computes, by
    ``algorithm`` with ``knobs``; ``source`` is ``"tuned"`` (``record_sha`` names the record) or
    ``"default"``; ``modules`` are the paths of the PyTorch modules it computes; ``macs``
    (multiply-accumulates of the direct algorithm) and ``bytes`` (every argument once) are per
    call.
    """

    symbol: str
    problem: str
    algorithm: str
    knobs: dict[str, int]
    source: str
    record_sha: str | None
    label: str | None
    modules: tuple[str, ...]
    macs: int
    bytes: int

    @property
    def workload(self) -> Workload:
        return Workload(Problem.parse(self.problem), self.algorithm)


@dataclass
class Lowered:
    """A network as Relax with its kernels in place, ready for ``relax.build``.

    ``mod["main"]`` takes the inputs only; weights are constants of the module. ``layout`` is
    ``"NCHW"`` or ``"NHWC"`` and describes the 4-D tensors at the border; ``device`` is the kind of
    the backend that made it; ``generic``: operators that no kernel computes.
    """

    mod: tvm.IRModule
    board: Board
    model_name: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    device: str = "cpu"
    layout: str = "NCHW"
    kernels: list[KernelInfo] = field(default_factory=list)
    generic: tuple[GenericOperator, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run of the network, those of ``generic`` operators too."""
        return sum(kernel.macs for kernel in self.kernels) + sum(o.macs for o in self.generic)
