"""A worker of the tuner: ``python -m tvm_flow.tuning.worker build|run|board|model [CORE,CORE]``.

It speaks :mod:`tvm_flow.support.channel` on its standard streams; whatever libraries and kernels
print goes to standard error. A candidate may crash it: then the tuner starts another.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from collections.abc import Callable

from tvm_flow.support import channel
from tvm_flow.support.channel import Closed, Message


def _private_streams() -> tuple[int, int]:
    """Keep the pipes for messages only; stray reads and prints go elsewhere."""
    incoming, outgoing = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return incoming, outgoing


def _handler(role: str) -> Callable[[Message], Message]:
    # tvm_ffi imports torch when it can, for the sake of a Windows problem: 2 s per worker.
    sys.modules["torch"] = None  # type: ignore[assignment]
    import tvm  # noqa: F401, PLC0415

    del sys.modules["torch"]  # scipy, should a family use it, stumbles over the None
    if role == "build":
        from tvm_flow.tuning.worker import kernel_build  # noqa: PLC0415  (only what the role needs)

        return kernel_build.handle
    if role == "board":
        from tvm_flow.remote import trials  # noqa: PLC0415

        return trials.BoardDesk().handle
    if role == "model":
        from tvm_flow.modelled import worker  # noqa: PLC0415

        return worker.handle
    from tvm_flow.tuning.worker import kernel_run  # noqa: PLC0415

    return kernel_run.handle


def main(role: str, cores: str = "") -> None:
    """Answer requests until the tuner closes the pipe."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # candidates are expected to crash
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    incoming, outgoing = _private_streams()
    handle = _handler(role)
    gc.freeze()  # a collection would go through TVM's modules each time
    channel.send(outgoing, {"ready": os.getpid()})
    while True:
        message = channel.receive(incoming)
        # Should the tuner be killed while a kernel loops for ever, nobody else would end us.
        signal.setitimer(signal.ITIMER_REAL, message.pop("alarm_s"))
        answer = handle(message)
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.send(outgoing, answer)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Closed:
        sys.exit(0)
