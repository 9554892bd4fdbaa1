"""A worker of the tuner: ``python -m tvm_flow.tuning.worker MODULE:FUNCTION [CORE,CORE]``.

The function makes what answers requests, see :class:`~tvm_flow.tuning.worker.protocol.WorkerRole`.
A worker speaks :mod:`tvm_flow.support.channel` on its standard streams; whatever libraries and
kernels print goes to standard error. A candidate may crash it: then the tuner starts another.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

from tvm_flow.support import channel
from tvm_flow.support.channel import Closed, Message
from tvm_flow.support.messages import from_message, to_message

if TYPE_CHECKING:
    from tvm_flow.tuning.worker.protocol import Handlers


def _private_streams() -> tuple[int, int]:
    """Keep the pipes for messages only; stray reads and prints go elsewhere."""
    incoming, outgoing = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return incoming, outgoing


def _made(handlers: str, options: Message) -> Handlers:
    """What the role's function makes; only this role's modules are imported."""
    # tvm_ffi imports torch when it can, for the sake of a Windows problem: 2 s per worker.
    sys.modules["torch"] = None  # type: ignore[assignment]
    import tvm  # noqa: F401, PLC0415

    del sys.modules["torch"]  # scipy, should an algorithm use it, stumbles over the None
    module, _, function = handlers.partition(":")
    made: Handlers = getattr(importlib.import_module(module), function)(**options)
    return made


def main(handlers: str, cores: str = "") -> None:
    """Answer requests until the tuner closes the pipe."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # candidates are expected to crash
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    incoming, outgoing = _private_streams()
    gc.disable()  # what importing TVM makes stays, and looking at it takes a tenth of the start
    answers = _made(handlers, channel.receive(incoming))
    from tvm_flow.tuning.worker.protocol import Order  # noqa: PLC0415  (imports TVM)

    gc.freeze()  # a collection would go through TVM's modules each time
    gc.enable()
    channel.send(outgoing, {"ready": os.getpid()})
    while True:
        order = from_message(channel.receive(incoming), Order)
        request: Any = from_message(order.request, *answers)
        # Should the tuner be killed while a kernel loops for ever, nobody else would end us.
        signal.setitimer(signal.ITIMER_REAL, order.alarm_s)
        answer = answers[type(request)](request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.send(outgoing, to_message(answer))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Closed:
        sys.exit(0)
