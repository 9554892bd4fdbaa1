"""One line of a tuning log: what a trial was and what came of it.

A log is JSON lines. Its first line is a header (schema, target, versions); every other line is a
trial: a problem, algorithm and knobs it was computed with, the kind of device and element type, and
what came of it. A line carries a hash of its content, so that a damaged or hand-edited one is
noticed. What older versions wrote (:mod:`.schema1`) is read as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.tuning.records import schema1

SCHEMA = 2
OK = "ok"
#: Every way a trial can end. Only ``ok`` carries times.
STATUSES = (OK, "build_error", "run_error", "crashed", "timeout", "wrong_result")
#: Where a time comes from: a clock on the board, an emulator's clock, or a model of the core.
LABELS = ("measured", "emulated", "modelled")
#: Those that kernels are chosen by, in order of trust. An emulator's clock is not among them: it
#: ranks schedules wrongly.
TRUSTED = ("measured", "modelled")
#: ``search``: one trial of the search. ``final``: the best candidates and the default, measured
#: again side by side on a quiet machine; within one session only these compare with each other.
STAGES = ("search", "final")

FrozenKnobs = frozenset[tuple[str, int]]


class BadLine(ValueError):
    """A line of a log that is not a valid entry; the message says why."""


class ForeignLine(BadLine):
    """A header that is sound but belongs to another target or schema: nothing to repair."""


def freeze(knobs: Mapping[str, int]) -> FrozenKnobs:
    """Hashable form of a choice of knobs."""
    return frozenset(knobs.items())


@dataclass(frozen=True)
class Record:
    """One measured candidate.

    ``problem`` is a ``Problem.key``, ``dtype`` the element type in it; ``algorithm`` and ``device``
    (its kind) are as in the registry. Times are seconds per call (median, 10th and 90th percentile
    over repeats), ``None`` unless ``status`` is ``ok``; ``cause`` says in one line why a trial
    failed; ``session`` names the tuner run that wrote it.
    """

    problem: str
    algorithm: str
    knobs: dict[str, int]
    threads: int
    status: str
    median_s: float | None = None
    p10_s: float | None = None
    p90_s: float | None = None
    label: str = "measured"
    stage: str = "search"
    session: str = ""
    cause: str = ""
    dtype: str = FLOAT32.value
    device: str = "cpu"

    @classmethod
    def of(
        cls, workload: Workload, knobs: Mapping[str, int], threads: int, status: str,
        median_s: float | None = None, p10_s: float | None = None, p90_s: float | None = None,
        **rest: Any,
    ) -> Record:  # fmt: skip
        """A record about ``workload``; ``rest`` as in the class."""
        problem = workload.problem
        return cls(
            problem.key, workload.algorithm, dict(knobs), threads, status,
            median_s, p10_s, p90_s, dtype=problem.dtype.value, **rest,
        )  # fmt: skip

    def __post_init__(self) -> None:
        self._check_workload()
        if self.status not in STATUSES:
            raise BadLine(f"unknown status {self.status!r}")
        if self.label not in LABELS:
            raise BadLine(f"unknown label {self.label!r}")
        if self.stage not in STAGES:
            raise BadLine(f"unknown stage {self.stage!r}")
        _check_knobs(self.knobs)
        if not _is_int(self.threads) or self.threads < 1:
            raise BadLine(f"threads must be a positive integer, not {self.threads!r}")
        self._check_times()

    def _check_workload(self) -> None:
        try:
            workload = Workload.parse(self.workload)
        except ValueError as error:
            raise BadLine(str(error)) from error
        if workload.problem.dtype != self.dtype:
            raise BadLine(f"{self.problem} is not of {self.dtype!r}")
        if not isinstance(self.device, str) or not self.device.isidentifier():
            raise BadLine(f"unknown device {self.device!r}")

    def _check_times(self) -> None:
        times = (self.p10_s, self.median_s, self.p90_s)
        if self.status != OK:
            if any(t is not None for t in times):
                raise BadLine(f"a {self.status} trial must not carry a time")
            return
        if not all(isinstance(t, float) and 0.0 < t < float("inf") for t in times):
            raise BadLine("an ok trial needs positive median_s, p10_s and p90_s")
        if sorted(t for t in times if t is not None) != list(times):
            raise BadLine("p10_s <= median_s <= p90_s does not hold")

    @property
    def workload(self) -> str:
        """The key of problem and algorithm, :attr:`Workload.key`."""
        return f"{self.problem}:{self.algorithm}"

    @property
    def ok(self) -> bool:
        return self.status == OK

    @property
    def seconds(self) -> float:
        """Median seconds per call of an ``ok`` record; infinity of any other."""
        return self.median_s if self.median_s is not None else float("inf")

    @property
    def frozen_knobs(self) -> FrozenKnobs:
        return freeze(self.knobs)

    @property
    def sha(self) -> str:
        """Hash of the content; names this record in reports and bundles."""
        return _digest({"kind": "trial", **asdict(self)})

    def encode(self) -> bytes:
        """The line of the log, newline included."""
        return _encode({"kind": "trial", **asdict(self)})


@dataclass(frozen=True)
class Header:
    """First line of a log: which board the records below are from, and the schema it was read in;
    it is written in the present one."""

    target: str
    cpu_model: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""
    schema: int = SCHEMA

    @classmethod
    def now(cls, target: str, cpu_model: str = "") -> Header:
        versions = {}
        for package in ("apache-tvm", "apache-tvm-ffi", "tvm-flow"):
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                continue  # run from a checkout without installation
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(target, cpu_model, versions, created)

    def encode(self) -> bytes:
        rest = {name: value for name, value in asdict(self).items() if name != "schema"}
        return _encode({"kind": "header", "schema": SCHEMA, **rest})


def decode(line: bytes, target: str) -> Record | Header:
    """One line of a log of board ``target``. Raises :class:`BadLine`."""
    try:
        entry = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # also undecodable bytes
        raise BadLine(f"not JSON ({error})") from error
    if not isinstance(entry, dict):
        raise BadLine("not a JSON object")
    kind = entry.get("kind")
    if kind not in ("header", "trial"):
        raise BadLine(f"unknown kind {kind!r}")
    stated = entry.pop("sha", None)
    if kind == "header":
        _require_known(entry.get("schema"))  # a newer one may be hashed in another way
    if stated != _digest(entry):
        raise BadLine("its content hash does not match: the line was edited or damaged")
    del entry["kind"]
    return _header(entry, target) if kind == "header" else _record(entry)


def _require_known(schema: Any) -> None:
    if _is_int(schema) and schema > SCHEMA:
        raise ForeignLine(f"written by a newer version of tvm-flow (schema {schema})")


def _header(entry: dict[str, Any], target: str) -> Header:
    schema = entry.get("schema")
    if schema not in (schema1.SCHEMA, SCHEMA):
        raise ForeignLine(f"there is no schema {schema!r}")
    try:
        header = Header(**entry)
    except TypeError as error:
        raise BadLine(f"not a header ({error})") from error
    if header.target != target:
        raise ForeignLine(f"it is a log of {header.target!r}, not of {target!r}")
    return header


def _record(entry: dict[str, Any]) -> Record:
    try:
        return Record(**(schema1.upgraded(entry) if "workload" in entry else entry))
    except BadLine:
        raise
    except Exception as error:  # whatever wrong types in it lead to
        raise BadLine(f"not a trial ({error})") from error


def _check_knobs(knobs: Any) -> None:
    if not isinstance(knobs, dict) or not all(
        isinstance(name, str) and _is_int(value) for name, value in knobs.items()
    ):
        raise BadLine(f"knobs must map names to integers, not {knobs!r}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _digest(entry: Mapping[str, Any]) -> str:
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _encode(entry: dict[str, Any]) -> bytes:
    line = json.dumps({**entry, "sha": _digest(entry)}, separators=(",", ":"), allow_nan=False)
    return line.encode() + b"\n"
