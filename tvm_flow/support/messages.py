"""Typed messages: dataclasses on both sides of a channel, plain JSON in between.

On its way a message has one more entry, the name of its class. Reading is strict: what one side
says and the other does not expect, or the other way round, is an error and no guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from tvm_flow.support.channel import Message
from tvm_flow.support.errors import MessageError

T = TypeVar("T")
_KIND = "kind"


def to_message(value: Any) -> Message:
    """A dataclass as JSON. Its fields may be plain values, paths, dataclasses, and tuples and
    dictionaries of these."""
    return {_KIND: type(value).__name__, **_plain(value)}


def from_message(message: Message, *kinds: type[T]) -> T:
    """The dataclass that a message is, one of ``kinds``. Raises :class:`MessageError` for another
    one, an unknown or missing field, and a value of another type."""
    name = message.get(_KIND)
    for kind in kinds:
        if kind.__name__ == name:
            content = {key: value for key, value in message.items() if key != _KIND}
            restored: T = _dataclass(kind, content, kind.__name__)
            return restored
    expected = " or ".join(kind.__name__ for kind in kinds)
    raise _refused(f"{name} came where {expected} was expected" if name else f"it is no {expected}")


def _refused(why: str) -> MessageError:
    return MessageError(
        "A worker and its tuner do not understand each other",
        why=why,
        fix="see with tvm-flow doctor that there is one tvm-flow only, and report it if there is",
    )


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@cache
def _types(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _dataclass(kind: type, content: Any, where: str) -> Any:
    if not isinstance(content, dict):
        raise _refused(f"{where} is {content!r} and no {kind.__name__}")
    types = _types(kind)
    if unknown := content.keys() - types.keys():
        raise _refused(f"{where} has no field {', '.join(sorted(unknown))}")
    if missing := types.keys() - content.keys():
        raise _refused(f"{where} comes without {', '.join(sorted(missing))}")
    return kind(**{name: _value(types[name], content[name], f"{where}.{name}") for name in types})


def _value(expected: Any, given: Any, where: str) -> Any:
    """``given``, as JSON has it, as a value of the type ``expected``."""
    origin, inner = get_origin(expected), get_args(expected)
    if origin is UnionType and inner[1:] == (NoneType,):
        return None if given is None else _value(inner[0], given, where)
    if origin is tuple and isinstance(given, list):
        return tuple(_value(inner[0], item, where) for item in given)
    if origin is dict and isinstance(given, dict):
        return {key: _value(inner[1], item, where) for key, item in given.items()}
    if isinstance(expected, type) and is_dataclass(expected):
        return _dataclass(expected, given, where)
    return _scalar(expected, given, where)


def _scalar(expected: Any, given: Any, where: str) -> Any:
    if expected is Path and isinstance(given, str):
        return Path(given)
    if expected is float and type(given) is int:
        return float(given)
    if expected is Any or type(given) is expected:
        return given
    name = expected.__name__ if isinstance(expected, type) else str(expected)
    raise _refused(f"{where} is {given!r} and no {name}")
