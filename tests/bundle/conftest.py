from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tvm_ffi

from tvm_flow.runtime import ffi


@pytest.fixture
def copied(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "copy"))


@pytest.fixture
def from_python() -> Iterator[Callable[[Callable[..., Any]], ffi.Function]]:
    """Makes a Python function one of TVM's."""
    names = []

    def register(function: Callable[..., Any]) -> ffi.Function:
        name = f"tests.bundle.{len(names)}"
        tvm_ffi.register_global_func(name, function, override=True)
        names.append(name)
        return ffi.global_function(name)

    yield register
    for name in names:
        tvm_ffi.remove_global_func(name)
