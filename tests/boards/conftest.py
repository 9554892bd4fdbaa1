from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tvm
from tvm import te
from tvm.target import Target

from tests.boards.farm import Tracker
from tvm_flow import targets
from tvm_flow.boards.emulate import EmulatedBoard, NativeBoard
from tvm_flow.boards.server_build import server_program
from tvm_flow.toolchain.linker import find_linker

#: Starts a server of this machine that is stopped after the test.
Start = Callable[..., NativeBoard]


@pytest.fixture(scope="session")
def running_tracker() -> Iterator[Tracker]:
    made = Tracker()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def native_server() -> Path:
    """Built by whichever test comes first: a minute or two on a machine that has no cache yet."""
    return server_program(targets.load("native").arch)


@pytest.fixture
def start(running_tracker: Tracker, native_server: Path) -> Iterator[Start]:
    boards: list[EmulatedBoard] = []

    def started(tracker: str = running_tracker.address, **options: Any) -> NativeBoard:
        board = NativeBoard("native", tracker, **{"key": f"key{len(boards)}", **options})
        boards.append(board)
        return board.start()

    yield started
    for board in boards:
        board.kill()


def add_library(board_name: str, path: Path) -> Path:
    """``add``: out = in + 1 on 64 floats, for a board."""
    board = targets.load(board_name)
    given = te.placeholder((64,), name="given")
    out = te.compute((64,), lambda i: given[i] + 1.0, name="out")
    func = te.create_prim_func([given, out]).with_attr("global_symbol", "add")
    built = tvm.compile(tvm.IRModule({"add": func}), target=Target(board.tvm_target()))
    built.export_library(str(path), fcompile=find_linker(board.arch).fcompile)
    return path
