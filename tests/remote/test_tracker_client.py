"""What answers where a tracker should be, and what is no address: one line, never a bug."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tvm_flow.remote.client import TrackerGone, request, require_farm, summary
from tvm_flow.remote.tracker import listen
from tvm_flow.support.address import Address
from tvm_flow.support.errors import BoardError, EnvironmentFault

Talk = Callable[[socket.socket], None]


def echo(client: socket.socket) -> None:
    while said := client.recv(100):
        client.sendall(said)


def hang(client: socket.socket) -> None:
    """It greets like a tracker and then says nothing more."""
    client.sendall(client.recv(4))
    while client.recv(100):
        pass


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Address]:
    """Somebody who talks as the test's parameter says."""
    talk: Talk = request.param

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, suppress(OSError):
                    talk(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield Address("127.0.0.1", listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("place", "why"), [(echo, "is no tracker"), (hang, "said nothing")], indirect=["place"]
)
def test_no_tracker(place: Address, why: str) -> None:
    with pytest.raises(TrackerGone, match=why):
        summary(place, 0.5)


@pytest.mark.parametrize("place", [echo], indirect=True)
def test_a_board_is_not_asked_of_something_else(place: Address) -> None:
    with pytest.raises(TrackerGone, match="is no tracker"):
        request(place, "rk3399", 0.5)


def test_names_that_cannot_be() -> None:
    nowhere = Address("a..b", 9190)
    with pytest.raises(BoardError, match="not a host name"):
        require_farm(nowhere)
    with pytest.raises(EnvironmentFault, match="--host"):
        listen(nowhere)
    with pytest.raises(EnvironmentFault, match="--host or --port"):
        listen(Address("203.0.113.1", 0))  # of nobody, for documentation
