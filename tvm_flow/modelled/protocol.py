"""What a model worker is told once; its requests and answers are the tuner's own."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_flow.modelled.cores import CoreModel
from tvm_flow.modelled.tools import Tools
from tvm_flow.support.messages import to_message
from tvm_flow.tuning.worker.protocol import WorkerRole


@dataclass(frozen=True)
class ModelSetup:
    """The core that is modelled, the programs to do it with, and how long one candidate may be
    emulated."""

    model: CoreModel
    tools: Tools
    emulation_timeout_s: float

    @property
    def role(self) -> WorkerRole:
        """Of a worker that models this core."""
        handlers = "tvm_flow.modelled.worker:handlers"
        return WorkerRole("model", handlers, {"setup": to_message(self)})
