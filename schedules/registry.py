"""Find the family of an operator for a kind of target; first registered match wins."""

from __future__ import annotations

from tvm_flow.schedules.contract.base import Family

_FAMILIES: dict[tuple[str, str], Family] = {}


def register(family: Family, *, target_kind: str = "llvm") -> Family:
    """Offer ``family`` for its operator on ``target_kind``; an earlier registration stays."""
    _FAMILIES.setdefault((family.op, target_kind), family)
    return family


def lookup(op: str, target_kind: str = "llvm") -> Family:
    """The family of ``op``. Raises ``KeyError`` naming the known operators."""
    _load_builtin()
    try:
        return _FAMILIES[op, target_kind]
    except KeyError:
        known = ", ".join(sorted({name for name, kind in _FAMILIES if kind == target_kind}))
        raise KeyError(f"no {target_kind} schedule for operator {op!r}; known: {known}") from None


def operators(target_kind: str = "llvm") -> list[str]:
    """Names of the operators that have a schedule for ``target_kind``."""
    _load_builtin()
    return sorted(op for op, kind in _FAMILIES if kind == target_kind)


def _load_builtin() -> None:
    """Import the families that ship with the project; each registers itself."""
    import tvm_flow.schedules.cpu.families  # noqa: F401, PLC0415  (lazy: it imports TVM)
