"""Which algorithms there are for a problem on a device.

What ships with the project is listed here by kind of device; :func:`register` offers more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_flow.schedules.contract.algorithm import Algorithm
from tvm_flow.schedules.contract.device import Device
from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.cpu import algorithms as cpu
from tvm_flow.schedules.cpu.device import Cpu

#: Kind of device, operator, layout, name.
_Key = tuple[str, str, str, str]

#: What is worth trying of what ships with the project, best guess first, by kind of device.
_RANKED: dict[str, Callable[[Problem, Any], list[Any]]] = {Cpu.kind: cpu.ranked}
_ALGORITHMS: dict[_Key, Algorithm[Any]] = {}
_MORE: list[Algorithm[Any]] = []


def _add(algorithm: Algorithm[Any]) -> bool:
    """Whether it was new for at least one layout."""
    added = False
    for layout in algorithm.layouts:
        key = (algorithm.device_kind, algorithm.op, layout, algorithm.name)
        added |= _ALGORITHMS.setdefault(key, algorithm) is algorithm
    return added


for _algorithm in cpu.ALGORITHMS:
    _add(_algorithm)


def register(algorithm: Algorithm[Any]) -> None:
    """Offer one more algorithm; an earlier one of the same name, operator, layout and kind of
    device stays."""
    if _add(algorithm):
        _MORE.append(algorithm)


def algorithms(problem: Problem, device: Device) -> list[Algorithm[Any]]:
    """Those worth trying for ``problem``, the one to take without measurements first; empty where
    nothing computes it."""
    ranked = _RANKED.get(device.kind)
    more = [a for a in _MORE if a.device_kind == device.kind and a.applies(problem, device)]
    return [*(ranked(problem, device) if ranked else []), *more]


def algorithm(workload: Workload, device_kind: str = Cpu.kind) -> Algorithm[Any]:
    """The algorithm of ``workload``. Raises ``KeyError`` naming what there is instead."""
    problem = workload.problem
    found = _ALGORITHMS.get((device_kind, problem.op, problem.layout, workload.algorithm))
    if found is not None:
        return found
    ways = sorted(
        name
        for kind, op, layout, name in _ALGORITHMS
        if (kind, op, layout) == (device_kind, problem.op, problem.layout)
    )
    if ways:
        raise KeyError(
            f"no {device_kind} algorithm {workload.algorithm!r} for {problem.op} in "
            f"{problem.layout}; known: {', '.join(ways)}"
        )
    raise _unknown(problem.op, device_kind)


def operator(op: str, device_kind: str = Cpu.kind) -> Operator:
    """The operator called ``op``. Raises ``KeyError`` naming those there are."""
    for found in _ALGORITHMS.values():
        if (found.device_kind, found.op) == (device_kind, op):
            return found.operator
    raise _unknown(op, device_kind)


def every(device_kind: str = Cpu.kind) -> list[Algorithm[Any]]:
    """All algorithms for a kind of device."""
    return list(dict.fromkeys(a for a in _ALGORITHMS.values() if a.device_kind == device_kind))


def _unknown(op: str, device_kind: str) -> KeyError:
    known = ", ".join(sorted({a.op for a in every(device_kind)}))
    return KeyError(f"no {device_kind} schedule for operator {op!r}; known: {known}")
