"""``--shard 2/5``: every fifth test, from the second on. ``--resume FOLDER``: not those again that
have passed on the very same sources; the folder keeps one list of them for each state.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NO_SOURCE = re.compile(r"\..*|build|dist|site|__pycache__|.*\.egg-info")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shard", metavar="K/N", help="only every Nth test, from the Kth on")
    parser.addoption(
        "--resume", metavar="FOLDER", type=Path,
        help="leave out what has passed on these sources, and note what passes",
    )  # fmt: skip


def parse_shard(text: str) -> tuple[int, int]:
    """``"k/n"`` with 1 ≤ k ≤ n. Raises :class:`pytest.UsageError`."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise pytest.UsageError(f"{text!r} is no shard. Fix: say K/N, such as 2/5")
    return int(found[1]), int(found[2])


def source_state(root: Path = ROOT) -> str:
    """A digest of every file of a checkout but hidden ones and build products."""
    digest = hashlib.sha256()
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if not _NO_SOURCE.fullmatch(name))
        for path in (Path(folder, name) for name in sorted(files)):
            if path.is_file() and not _NO_SOURCE.fullmatch(path.name):
                name = path.relative_to(root).as_posix()
                digest.update(repr((name, hashlib.sha256(path.read_bytes()).digest())).encode())
    return digest.hexdigest()[:16]


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption("--resume")
    if folder is not None:
        config.pluginmanager.register(Resumed(folder / f"{source_state()}.txt"))


@pytest.hookimpl(trylast=True)  # after -m and -k
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if text := config.getoption("--shard"):
        first, count = parse_shard(text)
        _keep(config, items, items[first - 1 :: count])
    for plugin in config.pluginmanager.get_plugins():
        if isinstance(plugin, Resumed):
            _keep(config, items, [item for item in items if item.nodeid not in plugin.passed])


def _keep(config: pytest.Config, items: list[pytest.Item], kept: list[pytest.Item]) -> None:
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept


class Resumed:
    """The list of tests that have passed on this state of the sources, one a line."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.passed = set(log.read_text(encoding="utf-8").splitlines()) if log.exists() else set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("a", encoding="utf-8") as log:
                log.write(f"{report.nodeid}\n")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """A shard of which everything has passed before is no error."""
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.passed:
            session.exitstatus = pytest.ExitCode.OK
