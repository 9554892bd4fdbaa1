"""Text files for boards, with the board's values in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tvm_flow.support.resources import package_file


def filled(template: Path, values: Mapping[str, str]) -> str:
    """The text of ``template`` with every ``@NAME@`` of ``values`` replaced; ``@CHECKS@`` is the
    shell functions all installers share."""
    text = template.read_text(encoding="utf-8")
    checks = package_file("boards", "checks.sh").read_text(encoding="utf-8")
    for name, value in {"CHECKS": checks, **values}.items():
        text = text.replace(f"@{name}@", value)
    return text
