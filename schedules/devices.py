"""The kinds of device that ship with the project."""

from __future__ import annotations

from typing import TypeAlias

from tvm_flow.schedules.cpu.device import Cpu

#: What schedules may know of a device, whichever it is.
AnyDevice: TypeAlias = Cpu
