"""``tracker``: what boards register with and tuners ask for them."""

from __future__ import annotations

from tvm_flow.remote.tracker import serve

__all__ = ["serve"]
