from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copied(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "copy"))
