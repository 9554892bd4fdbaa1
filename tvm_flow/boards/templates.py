"""Text files for boards, with the board's values in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_CHECKS = Path(__file__).with_name("checks.sh")


def filled(template: Path, values: Mapping[str, str]) -> str:
    """The text of ``template`` with every ``@NAME@`` of ``values`` replaced; ``@CHECKS@`` is the
    shell functions all installers share."""
    text = template.read_text(encoding="utf-8")
    for name, value in {"CHECKS": _CHECKS.read_text(encoding="utf-8"), **values}.items():
        text = text.replace(f"@{name}@", value)
    return text
