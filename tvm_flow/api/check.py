"""``check``: is a bundle whole, at home on this machine, and right?"""

from __future__ import annotations

from tvm_flow.runtime.sample import CheckReport, check

__all__ = ["CheckReport", "check"]
