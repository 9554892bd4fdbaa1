"""Fixtures: what is built, once for all tests of distributions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distribution.environments import build, copy_sources


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_sources(tmp_path_factory.mktemp("source") / "tvm-flow")


@pytest.fixture(scope="session")
def sdist(source: Path) -> Path:
    return build("sdist", source, source.parent / "dist")


@pytest.fixture(scope="session")
def wheel(source: Path) -> Path:
    return build("wheel", source, source.parent / "dist")
