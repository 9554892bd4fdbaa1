"""Boards from TOML files: every key is checked against the dataclasses, nothing is guessed.

``load("rk3399")``, ``load("native")`` and ``load("path/to/my-board.toml")`` all give a
:class:`~tvm_flow.targets.board.Board`; a new board is a new file and nothing else.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tvm_flow.targets.board import NATIVE, Board, Cluster, Gpu, TargetFileError
from tvm_flow.targets.native import detect

FOLDER = Path(str(files(__package__)))
POSITIVE = {
    "threads", "n_div", "alignment", "max_mhz", "l1d_kib", "l2_kib", "l2_shared_by", "vector_bits",
    "vector_registers", "fma_per_cycle", "dram_gbps", "ram_gib", "sm", "multiprocessors",
    "cuda_cores", "shared_kib_per_block", "shared_kib_per_sm", "registers_per_block",
    "registers_per_sm",
}  # fmt: skip
DERIVED = {"log_class"}  # set by detection only, never by a file


def names() -> list[str]:
    """Every board :func:`load` knows by name, ``native`` first."""
    return [NATIVE, *sorted(path.stem for path in FOLDER.glob("*.toml"))]


def load(name_or_path: str | Path) -> Board:
    """A board by name, by path of a ``.toml`` file, or ``native`` (this machine).

    Raises :class:`TargetFileError` (one line with file and key) for an unknown name, an unreadable
    file, or a file with an unknown, missing or wrong key.
    """
    text = str(name_or_path)
    if text == NATIVE:
        return detect()
    path = Path(text) if text.endswith(".toml") else FOLDER / f"{text}.toml"
    if not path.is_file() or (not text.endswith(".toml") and "/" in text):
        raise _unknown(text)
    return read(path)


def read(path: Path) -> Board:
    """The board in one TOML file. Raises :class:`TargetFileError`."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TargetFileError(
            f"Target file {path} cannot be read", why=str(error), fix="correct the file"
        ) from error
    board: Board = _table(Board, raw, path, "")
    _check_board(board, path)
    return board


def _unknown(name: str) -> TargetFileError:
    if name.endswith(".toml"):
        return TargetFileError(f"Target file {name} does not exist", fix="give an existing path")
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"use {near[0]!r}" if near else "use a listed name or the path of a .toml file"
    return TargetFileError(f"Unknown target {name!r}", why=f"known: {', '.join(names())}", fix=hint)


def _fail(path: Path, key: str, why: str) -> TargetFileError:
    return TargetFileError(
        f"Target file {path.name}, key {key!r}", why=why, fix=f"correct {key!r} in {path}"
    )


def _table(kind: type[Any], raw: Any, path: Path, prefix: str) -> Any:
    """One TOML table as the dataclass ``kind``; ``prefix`` names the table in messages."""
    if not isinstance(raw, Mapping):
        raise _fail(path, prefix.rstrip("."), f"expected a table, got {raw!r}")
    fields = {f.name: f for f in dataclasses.fields(kind) if f.name not in DERIVED}
    for key in raw:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f" (meant {near[0]!r}?)" if near else ""
            raise _fail(path, prefix + key, f"unknown key{hint}")
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in raw:
            values[name] = _value(hints[name], raw[name], path, prefix + name)
        elif field.default is dataclasses.MISSING:
            raise _fail(path, prefix + name, "missing key")
    return kind(**values)


def _value(hint: Any, raw: Any, path: Path, key: str) -> Any:
    """A TOML value as the annotated type, or an error that names the key."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):  # "X | None": a present key is an X
        return _value(args[0], raw, path, key)
    if origin is Literal:
        if raw not in args:
            raise _fail(path, key, f"{raw!r} is not one of {', '.join(args)}")
        return raw
    if origin is tuple:
        if not isinstance(raw, list):
            raise _fail(path, key, f"expected a list, got {raw!r}")
        return tuple(_value(args[0], item, path, f"{key}[{i}]") for i, item in enumerate(raw))
    if hint in (Cluster, Gpu):
        return _table(hint, raw, path, f"{key}.")
    accepted = (int, float) if hint is float else hint
    if isinstance(raw, bool) or not isinstance(raw, accepted):
        raise _fail(path, key, f"expected {hint.__name__}, got {raw!r}")
    if key.rpartition(".")[2] in POSITIVE and raw <= 0:
        raise _fail(path, key, f"must be positive, got {raw!r}")
    return float(raw) if hint is float else raw


def _check_board(board: Board, path: Path) -> None:
    """What types cannot say: names, core ids, versions and powers of two that fit together."""
    existing = [core for cluster in board.clusters for core in cluster.cores]
    missing = [core for core in board.cores if core not in existing]
    used = {cluster.mcpu for cluster in board.used_clusters}
    odd_attr = [a for a in board.mattr if not re.fullmatch(r"[+-][a-z0-9.-]+", a)]
    rules = [
        ("name", board.name == path.stem, f"{board.name!r} must equal the file's name"),
        ("mtriple", board.mtriple.startswith(board.arch), f"does not begin with {board.arch}"),
        ("mattr", not odd_attr, f"{odd_attr} do not look like '+neon' or '-sve'"),
        ("clusters", len(existing) == len(set(existing)), "a core id is in two clusters"),
        ("cores", bool(board.cores), "no core to run on"),
        ("cores", len(set(board.cores)) == len(board.cores), "a core id is listed twice"),
        ("cores", not missing, f"core ids {missing} do not exist; clusters have {existing}"),
        ("mcpu", board.mcpu in used, f"{board.mcpu!r} is not the mcpu of a cluster in use"),
        ("threads", board.threads <= len(board.cores), "more threads than cores to run on"),
        (
            "glibc_floor",
            re.fullmatch(r"2\.\d{1,2}", board.glibc_floor) is not None,
            f"{board.glibc_floor!r} is not a glibc version such as '2.28'",
        ),
        (
            "alignment",  # what runtime/c/plan.c accepts
            16 <= board.alignment <= 4096 and board.alignment & (board.alignment - 1) == 0,
            "not a power of two from 16 to 4096",
        ),
        ("sources", bool(board.sources), "say where the numbers come from"),
        *(
            (f"clusters.{c.name}.vector_bits", c.vector_bits % 32 == 0, "not a multiple of 32")
            for c in board.clusters
        ),
    ]
    for key, ok, why in rules:
        if not ok:
            raise _fail(path, key, why)
