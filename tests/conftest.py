from __future__ import annotations

import gc
import signal
from pathlib import Path

import pytest

from tests.torch_operators import look_up_operators_once
from tvm_flow.support.collector import collect_seldom

pytest_plugins = [
    "tests.support.system",
    "tests.support.tiers",
    "tests.support.shards",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Here and not beside the test: pytest reads options from the outermost conftest only."""
    group = parser.getgroup("tir", "TIR of committed records (tests/schedules/test_tir_unchanged)")
    group.addoption(
        "--all-records", action="store_true", help="check the TIR of all records, not of a quarter"
    )
    group.addoption(
        "--renew-tir-hashes",
        action="store_true",
        help="write the hashes of all records' TIR anew, after an intended change of kernels",
    )
    group.addoption(
        "--dump-tir",
        metavar="DIR",
        help="also write the compared texts into DIR, one file each, for a diff between commits",
    )


def pytest_configure() -> None:
    """Ctrl-C works in the programs under test, however the test run itself was started.

    A shell without job control starts background jobs with SIGINT ignored, and children inherit
    that: Python then installs no handler for it, and a test that presses Ctrl-C waits in vain.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    collect_seldom()


def pytest_collection_finish() -> None:
    """What importing TVM, PyTorch and the tests has made stays: a collection that looked at it
    each time would take an eighth of the whole run."""
    look_up_operators_once()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for this machine; tests that change one take a copy."""
    from tests.bundle.networks import write  # noqa: PLC0415 - imports TVM and torch

    return write(tmp_path_factory.mktemp("bundles") / "tiny")
