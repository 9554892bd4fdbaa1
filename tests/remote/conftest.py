from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boards.farm import Tracker
from tests.remote.lab import FlowTracker, Lab
from tvm_flow import targets
from tvm_flow.boards.server_build import server_program

BOARD = targets.load("native")


@pytest.fixture(scope="session")
def shared_tracker() -> Iterator[Tracker]:
    made = FlowTracker()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def native_server() -> Path:
    return server_program(BOARD.arch)


@pytest.fixture
def lab(shared_tracker: Tracker, native_server: Path, tmp_path: Path) -> Iterator[Lab]:
    """A place to tune in, with the session's tracker."""
    made = Lab(shared_tracker, tmp_path / BOARD.log_name)
    yield made
    made.close()


@pytest.fixture
def own_lab(native_server: Path, tmp_path: Path) -> Iterator[Lab]:
    """The same with a tracker of its own, for tests that kill it."""
    tracker = FlowTracker()
    tracker.start()
    made = Lab(tracker, tmp_path / BOARD.log_name)
    yield made
    made.close()
    tracker.stop()
