"""The parent of a tuner's workers: ``python -m tvm_flow.tuning.worker DESCRIPTOR``.

It imports TVM once and forks a worker whenever the tuner asks for one over the socket that the
descriptor is of (:mod:`tvm_flow.tuning.worker.fork_server` is the other side): a worker then starts
in milliseconds, also in place of one that a candidate has crashed. It ends once the tuner has and
no worker is left, or when it has had none for a while.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tvm_flow.support import channel
from tvm_flow.support.channel import Closed, Message
from tvm_flow.support.messages import from_message, to_message
from tvm_flow.support.without_torch import without_torch

if TYPE_CHECKING:
    from tvm_flow.tuning.worker.protocol import Handlers

#: It may be started again; until then its memory is of more use to others.
_IDLE_S = 60.0


def _import_once() -> None:
    """What every worker needs; only a role's own modules are imported in the worker."""
    with without_torch():
        import tvm_flow.tuning.worker.kernel_build  # noqa: PLC0415
        import tvm_flow.tuning.worker.kernel_run  # noqa: F401, PLC0415


class _Parent:
    """Forks workers for the tuner at the other end of a socket, and reports how each has ended."""

    def __init__(self, tuner: socket.socket) -> None:
        self._tuner = tuner
        self._ready = selectors.DefaultSelector()
        self._ready.register(tuner, selectors.EVENT_READ)

    def serve(self) -> None:
        """Until there is nobody left to serve."""
        while self._ready.get_map():
            events = self._ready.select(_IDLE_S)
            if not events and len(self._ready.get_map()) == 1:
                return
            for key, _ in events:
                if key.data is None:
                    self._answer()
                else:
                    self._report(key.fd, *key.data)

    def _answer(self) -> None:
        try:
            _, fds, _, _ = socket.recv_fds(self._tuner, 1, 4)
            order = channel.receive(self._tuner.fileno())
        except (Closed, OSError):
            self._ready.unregister(self._tuner)  # the tuner is gone, and its workers soon will be
            return
        incoming, outgoing, log, status = fds
        if (pid := os.fork()) == 0:
            _end_with(_worker, incoming, outgoing, log, order)
        os.setpgid(pid, pid)  # here too, since the tuner may kill the group at once
        for fd in (incoming, outgoing, log):
            os.close(fd)
        self._ready.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, status))
        channel.send(self._tuner.fileno(), {"pid": pid})

    def _report(self, descriptor: int, pid: int, status: int) -> None:
        self._ready.unregister(descriptor)
        os.close(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(Closed):  # the tuner does not care, or is gone
            channel.send(status, {"status": code})
        os.close(status)


def _end_with(function: Any, *arguments: Any) -> None:
    """Run ``function`` and end this process, whatever comes of it."""
    code = 1
    try:
        function(*arguments)
        code = 0
    except Closed:
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # the parent's streams and modules are not to be taken apart here


def _worker(incoming: int, outgoing: int, log: int, order: Message) -> None:
    """A worker, see :class:`~tvm_flow.tuning.worker.protocol.WorkerRole`: answers requests until
    the tuner closes the pipe.

    It speaks :mod:`tvm_flow.support.channel` on the two pipes; whatever libraries and kernels print
    goes to the log. A candidate may crash it: then the tuner has another forked.
    """
    os.setpgid(0, 0)
    for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, target)
    for fd in map(int, os.listdir("/proc/self/fd")):  # the socket, and what is of other workers
        if fd > 2 and fd not in (incoming, outgoing):
            with suppress(OSError):  # that of the listing itself
                os.close(fd)
    os.environ.clear()
    os.environ.update(order["environment"])
    if order["cores"]:
        os.sched_setaffinity(0, order["cores"])
    answers = _made(order["handlers"], channel.receive(incoming))
    gc.freeze()  # a collection would go through TVM's modules each time
    gc.enable()
    channel.send(outgoing, {"ready": os.getpid()})
    _answer_requests(incoming, outgoing, answers)


def _made(handlers: str, options: Message) -> Handlers:
    """What the role's function makes."""
    module, _, function = handlers.partition(":")
    made: Handlers = getattr(importlib.import_module(module), function)(**options)
    return made


def _answer_requests(incoming: int, outgoing: int, answers: Handlers) -> None:
    from tvm_flow.tuning.worker.protocol import Order  # noqa: PLC0415  (imports TVM)

    while True:
        order = from_message(channel.receive(incoming), Order)
        request: Any = from_message(order.request, *answers)
        # Should the tuner be killed while a kernel loops for ever, nobody else would end us.
        signal.setitimer(signal.ITIMER_REAL, order.alarm_s)
        answer = answers[type(request)](request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.send(outgoing, to_message(answer))


def main(descriptor: str) -> None:
    """Import, then serve."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # candidates are expected to crash
    gc.disable()  # what importing TVM makes stays: no use in looking at it again and again
    _import_once()
    gc.freeze()  # workers then share it
    with socket.socket(fileno=int(descriptor)) as tuner:
        _Parent(tuner).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
