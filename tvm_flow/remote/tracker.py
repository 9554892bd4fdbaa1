"""The tracker: where boards register and tuners ask for one. TVM's own, with two additions.

It notes when it last heard of every board, and drops those that have fallen silent: a frozen board
keeps its connection open, and TVM's tracker would go on handing it out.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from tornado import ioloop
from tvm.rpc import tracker as tvm_tracker

from tvm_flow.support.address import Address
from tvm_flow.support.errors import EnvironmentFault

#: Seconds without a word after which a board is dropped. Ours says something every 2 s; TVM's own
#: server says nothing while a session runs.
SILENT_S, SILENT_STOCK_S = 30.0, 600.0
_LOOK_S = 2.0


class _Connection(tvm_tracker.TCPEventHandler):
    """One board or client."""

    def __init__(self, tracker: Any, sock: socket.socket, address: Any) -> None:
        super().__init__(tracker, sock, address)
        self.heard = time.time()

    def call_handler(self, args: Any) -> None:
        self.heard = time.time()
        super().call_handler(args)

    def summary(self) -> dict[str, Any]:
        return {**super().summary(), "silent_s": round(time.time() - self.heard, 1)}

    @property
    def is_lost(self) -> bool:
        limit = SILENT_S if "health" in self._info else SILENT_STOCK_S
        return "key" in self._info and time.time() - self.heard > limit


class _Handler(tvm_tracker.TrackerServerHandler):
    def _on_event(self, _: int) -> None:
        while True:
            try:
                connection, address = self._sock.accept()
            except BlockingIOError:
                return
            except OSError:  # the caller has gone again, or there are too many of them
                return
            _Connection(self, connection, address)

    def drop_silent(self) -> None:
        for connection in [c for c in self._connections if c.is_lost]:
            tvm_tracker.logger.warning("%s is silent: dropped", connection.name())
            connection.close()


def serve(address: Address) -> None:
    """Serve until the process is interrupted. Raises :class:`EnvironmentFault` for an address that
    cannot be bound."""
    listener = listen(address)
    asyncio.set_event_loop(asyncio.new_event_loop())
    handler = _Handler(listener, stop_key="")  # nobody is to stop it over the network
    look = ioloop.PeriodicCallback(handler.drop_silent, 1e3 * _LOOK_S)
    look.start()
    try:
        handler.run()
    finally:
        look.stop()
        handler.stop()


def listen(address: Address) -> socket.socket:
    """A listening socket. Raises :class:`EnvironmentFault`."""
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:  # the latter for what cannot be a name at all
        raise EnvironmentFault(
            f"Cannot listen on {address}",
            why=getattr(error, "strerror", None) or str(error),
            fix="give an address of this machine as --host",
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(tuple(address))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise EnvironmentFault(
            f"Cannot listen on {address}",
            why=error.strerror or str(error),
            fix="end the tracker that runs there, or choose another --host or --port",
        ) from error
    return listener
