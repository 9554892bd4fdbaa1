"""IPv6 addresses, from the command line to a kernel on a board."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boards.farm import until
from tests.remote.lab import BOARD, FlowTracker, Lab
from tests.tuning.faulty_family import workload
from tvm_flow.remote import client
from tvm_flow.support.address import Address, parse_address
from tvm_flow.support.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9190", Address("127.0.0.1", 9190)),
        ("board-7.lan:1", Address("board-7.lan", 1)),
        ("[::1]:9190", Address("::1", 9190)),
        ("[fe80::1%eth0]:65535", Address("fe80::1%eth0", 65535)),
    ],
)
def test_addresses_are_read_and_written(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["::1:9190", "fe80::1", "[::1]", "[::1]:0", "[x]:1", "[]:1", "a"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="is not HOST:PORT") as raised:
        parse_address(text)
    assert ("[::1]:9190" in raised.value.fix) == (text in ("::1:9190", "fe80::1"))


@pytest.fixture
def lab6(native_server: Path, tmp_path: Path) -> Iterator[Lab]:
    """A place to tune in whose tracker only speaks IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    tracker = FlowTracker(host="::1")
    tracker.start()
    made = Lab(tracker, tmp_path / BOARD.log_name)
    yield made
    made.close()
    tracker.stop()


@pytest.mark.parametrize(
    "listens", ["127.0.0.1", "[::1]", pytest.param("::1", marks=pytest.mark.slow)]
)
def test_kernels_are_tuned_over_ipv6(lab6: Lab, listens: str) -> None:
    """On a board that listens there too, and on one that only its tracker sees there."""
    board = lab6.board(arguments=["--host", listens])
    address = parse_address(lab6.tracker.address)
    (listed,) = until(lambda: client.summary(address).of(lab6.key))
    assert listed.address == str(Address(*board.address))
    report = lab6.tune(workload(), trials=4)
    assert report.total == 4
    assert not report.failures


def test_the_server_wants_brackets(native_server: Path) -> None:
    command = [native_server, "--tracker", "::1:9190", "--key", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert "an IPv6 address needs brackets: [::1]:9190" in done.stderr
    assert done.stderr.count("\n") == 1
