"""Tests that need system packages say so: ``@pytest.mark.system("emulate")``, also ``"model"``,
``"embed"`` and ``"musl"``.

Where a package of that use lacks, they are skipped and the last line of the run says how many and
how to bring them back; with ``CI=true`` they fail. Nothing is ever installed from here.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tvm_flow.support.system_packages import COMMAND, lacking

#: In a report's properties: this test did not run for want of these packages.
_LACKED = "lacked_system_packages"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--lacking-to", metavar="FILE", type=Path,
        help="write the line about tests that lack system packages there as well",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "system(use, ...): needs the system packages of these uses: emulate, model, embed, musl",
    )


@pytest.hookimpl(tryfirst=True)  # before any fixture starts what is not there
def pytest_runtest_setup(item: pytest.Item) -> None:
    uses = [use for mark in item.iter_markers("system") for use in mark.args]
    missing = sorted({name for use in uses for name in lacking(use)})
    if not missing:
        return
    item.user_properties.append((_LACKED, " ".join(missing)))
    said = f"needs {' and '.join(missing)}: {COMMAND}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(said, pytrace=False)
    pytest.skip(said)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: after pytest's own last line
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    answer = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return answer
    lacked = [
        dict(report.user_properties)[_LACKED]
        for report in reporter.stats.get("skipped", [])
        if _LACKED in dict(report.user_properties)
    ]
    said = ""
    if lacked:
        names = sorted({name for one in lacked for name in one.split()})
        said = (
            f"{len(lacked)} TESTS SKIPPED because this machine lacks {', '.join(names)}. "
            f"To run them: {COMMAND}"
        )
        reporter.write_line(said, yellow=True, bold=True)
    if (copy := session.config.getoption("--lacking-to")) is not None:
        copy.write_text(f"{said}\n" if said else "", encoding="utf-8")
    return answer
