"""What differs from one kind of device to another, behind one interface."""

from __future__ import annotations

from typing import Any

from tvm_flow.backends.base import Backend
from tvm_flow.backends.cpu import CPU
from tvm_flow.support.errors import UsageError

__all__ = ["CPU", "Backend", "backend_of"]

_BACKENDS: dict[str, Backend[Any]] = {backend.kind: backend for backend in (CPU,)}


def backend_of(device: str) -> Backend[Any]:
    """The backend of a kind of device. Raises :class:`UsageError` for one there is none of."""
    try:
        return _BACKENDS[device]
    except KeyError:
        raise UsageError(
            f"There is no backend for the device {device!r}", fix=f"one of {', '.join(_BACKENDS)}"
        ) from None
