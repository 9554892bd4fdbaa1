"""Bundles on boards: what libtvm_flow computes there, on which cores, and what it refuses."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tvm import relax
from tvm.relax import transform
from tvm.target import Target

from tests.boards.farm import descendants, until
from tests.bundle.arrays import SHAPE, sample
from tests.bundle.networks import write
from tests.remote.lab import BOARD, Lab, stock_server
from tvm_flow import targets
from tvm_flow.boards.emulate import EmulatedBoard
from tvm_flow.bundle.write import write_bundle
from tvm_flow.ir.lowered import Lowered, TensorInfo
from tvm_flow.remote import client
from tvm_flow.remote.board_bundle import BoardBundle, board_library
from tvm_flow.remote.compare import BoardComparison, compare_on_board
from tvm_flow.remote.session import BoardSession
from tvm_flow.support.address import parse_address
from tvm_flow.support.errors import BundleError, UsageError
from tvm_flow.targets import Board

RUNS = 3
two_cores = pytest.mark.skipif(len(BOARD.cores) < 2, reason="needs two cores")


def two_inputs(board: Board) -> Lowered:
    """x and y to the mean of x * y per channel, and y's largest channel in each pixel."""
    builder = relax.BlockBuilder()
    x, y = (relax.Var(name, relax.TensorType(SHAPE, "float32")) for name in "xy")
    with builder.function("main", [x, y]):
        with builder.dataflow():
            product = builder.emit(relax.op.multiply(x, y))
            mean = builder.emit_output(relax.op.mean(product, [2, 3]))
            largest = builder.emit_output(relax.op.argmax(y, axis=1))
        builder.emit_func_output(relax.Tuple([mean, largest]))
    with Target(board.tvm_target()):
        module = transform.LegalizeOps()(builder.get())
    return Lowered(
        mod=module,
        board=board,
        model_name="two",
        inputs=[TensorInfo(name, SHAPE, "float32") for name in "xy"],
        outputs=[
            TensorInfo("mean", SHAPE[:2], "float32"),
            TensorInfo("largest", (1, *SHAPE[2:]), "int64"),
        ],
        kernels=[],
    )


def write_two(path: Path, board: Board) -> tuple[Path, list[NDArray[Any]], list[NDArray[Any]]]:
    x, y = sample(), np.flip(sample(), 3).copy()
    expected = [(x * y).mean((2, 3), dtype=np.float32), y.argmax(1)]
    return write_bundle(two_inputs(board), path, sample=[x, y], expected=expected), [x, y], expected


def compared(
    lab: Lab, bundle: Path, board: Board = BOARD, *, threads: int = 1, key: str = ""
) -> BoardComparison:
    return compare_on_board(
        bundle, board, parse_address(lab.tracker.address), key or lab.key,
        program=None, threads=threads, runs=RUNS,
    )  # fmt: skip


def require_plausible(result: BoardComparison) -> None:
    assert result.max_rel_error < 1e-5
    document = result.to_json()
    assert document["eager"] is None
    assert set(document["bundle"]) == {"median_ms", "p10_ms", "p90_ms", "runs"}
    assert document["bundle"]["runs"] == RUNS
    assert 0 < document["bundle"]["p10_ms"] <= document["bundle"]["median_ms"]


def session_on(lab: Lab) -> BoardSession:
    address = parse_address(lab.tracker.address)
    until(lambda: client.summary(address).of(lab.key), 60)
    host, port, match_key = lab.tracker.request(lab.key)
    return BoardSession(host, port, match_key, 60.0)


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=two_cores)])
def test_tvms_own_server_runs_a_bundle(lab: Lab, pristine: Path, threads: int) -> None:
    with stock_server(lab):
        result = compared(lab, pristine, threads=threads)
    require_plausible(result)
    assert result.before == {}
    assert "TVM's own RPC server" in result.eager_missing


@pytest.mark.system("emulate")
def test_an_emulated_board_runs_a_bundle_of_two_threads(lab: Lab, tmp_path: Path) -> None:
    board = targets.load("rk3399")
    bundle = write(tmp_path / "bundle", "rk3399")
    with EmulatedBoard(board, lab.tracker.address, key=f"{lab.key}-arm"):
        result = compared(lab, bundle, board, threads=2, key=f"{lab.key}-arm")
    require_plausible(result)
    assert result.label == "emulated"
    assert not result.valid
    assert result.before["arch"] == "aarch64"


def test_two_inputs_and_outputs_of_two_types(lab: Lab, tmp_path: Path) -> None:
    lab.board()
    bundle, inputs, expected = write_two(tmp_path / "bundle", BOARD)
    require_plausible(compared(lab, bundle))
    session = session_on(lab)
    library = board_library(BOARD.arch, BOARD.glibc_floor)
    mean, largest = BoardBundle(session, bundle, library, 1, BOARD.cores)(inputs)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-5, atol=1e-6)
    assert largest.dtype == np.int64
    np.testing.assert_array_equal(largest, expected[1])


@pytest.mark.parametrize("stock", [False, True], ids=["ours", "stock"])
def test_damaged_weights_are_one_sentence(
    lab: Lab, pristine: Path, tmp_path: Path, stock: bool
) -> None:
    bundle = Path(shutil.copytree(pristine, tmp_path / "copy"))
    weights = bytearray((bundle / "weights.bin").read_bytes())
    weights[len(weights) // 2] ^= 1
    (bundle / "weights.bin").write_bytes(weights)
    with stock_server(lab) if stock else nullcontext():
        if not stock:
            lab.board()
        with pytest.raises(BundleError) as raised:
            compared(lab, bundle)
    (line,) = str(raised.value).splitlines()
    assert "weights.bin is damaged" in line
    assert line.count("Fix:") == 1
    assert "Error" not in line
    assert raised.value.exit_code == 7


@two_cores
def test_threads_run_on_the_cores_they_are_given(lab: Lab, pristine: Path) -> None:
    board = lab.board()
    session = session_on(lab)
    assert board.process is not None
    (pid,) = descendants(board.process.pid)
    tasks = Path(f"/proc/{pid}/task")
    before = set(os.listdir(tasks))
    library, cores = board_library(BOARD.arch, BOARD.glibc_floor), BOARD.cores[1::-1]
    bundle = BoardBundle(session, pristine, library, 2, cores)
    (worker,) = (int(task) for task in set(os.listdir(tasks)) - before)
    assert os.sched_getaffinity(pid) == {cores[0]}
    assert os.sched_getaffinity(worker) == {cores[1]}
    assert len(bundle.times(RUNS)) == RUNS


def test_more_threads_than_cores_are_refused(lab: Lab, pristine: Path) -> None:
    lab.board()
    threads = len(BOARD.cores) + 1
    with pytest.raises(UsageError, match=rf"{threads} thread\(s\) are not possible"):
        compared(lab, pristine, threads=threads)
