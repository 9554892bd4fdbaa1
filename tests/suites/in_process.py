"""Bundles are checked in the process that compiles them: it is one that may crash."""

from __future__ import annotations

import contextlib
import io

from tvm_flow.api import verify


def check_in_this_process() -> None:
    verify._in_another_process = _answered


def _answered(*arguments: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        verify.answer(*arguments)
    return said.getvalue().splitlines()[-1]
