from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bundle.networks import write


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for this machine; tests that change one take a copy."""
    return write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def copied(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "copy"))
