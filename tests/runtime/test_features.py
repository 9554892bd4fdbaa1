"""Instructions that are noted when compiling, and looked for when loading."""

from __future__ import annotations

import re

from tvm_flow.bundle.write import CHECKED_FEATURES
from tvm_flow.toolchain.runtime_library import sources


def test_the_library_knows_every_instruction_that_is_noted() -> None:
    """It refuses a bundle with the name of one that it does not know."""
    tables = (sources() / "machine.c").read_text(encoding="utf-8")
    names = re.findall(r'\{"([a-z0-9.]+)", (?:\d|AT_HWCAP)', tables)
    assert set(names) == CHECKED_FEATURES
    assert len(names) == len(set(names))
