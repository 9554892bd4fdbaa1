"""What is common to all kinds of device."""

from __future__ import annotations

from typing import Protocol


class Device(Protocol):
    """What a schedule may know of the device it is generated for; each kind adds its own."""

    @property
    def kind(self) -> str:
        """The kind of device, as in the registry and in records."""

    @property
    def threads(self) -> int:
        """Threads of the host that the kernel is split for."""
