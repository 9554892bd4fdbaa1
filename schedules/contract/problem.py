"""What is computed, and by what: problems, and workloads, which are problems with an algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm_flow.schedules.contract.dtypes import FLOAT32, DType

NHWC, NCHW = "nhwc", "nchw"
#: Of an operator that reads one layout and writes the other.
NCHW_TO_NHWC, NHWC_TO_NCHW = "nchw_to_nhwc", "nhwc_to_nchw"
#: How axes are permuted to come to a layout from the other one.
AXES = {NHWC: (0, 2, 3, 1), NCHW: (0, 3, 1, 2)}
LAYOUTS = (NHWC, NCHW, NCHW_TO_NHWC, NHWC_TO_NCHW)


@dataclass(frozen=True)
class Problem:
    """One operator at one shape, in one layout, of one element type.

    ``params`` maps names to integers or short strings (``act="relu"``), sorted by name. ``layout``
    is the order of 4-D inputs and outputs; ``dtype`` the element type of the inputs.
    """

    op: str
    params: tuple[tuple[str, int | str], ...]
    layout: str = NHWC
    dtype: DType = FLOAT32

    @classmethod
    def make(
        cls, op: str, *, layout: str = NHWC, dtype: DType = FLOAT32, **params: int | str
    ) -> Problem:
        return cls.of(op, params, layout, dtype)

    @classmethod
    def of(
        cls,
        op: str,
        params: Mapping[str, int | str],
        layout: str = NHWC,
        dtype: DType = FLOAT32,
    ) -> Problem:
        return cls(op, tuple(sorted(params.items())), layout, dtype)

    @classmethod
    def parse(cls, key: str) -> Problem:
        """Inverse of :attr:`key`. Raises ``ValueError`` on anything else."""
        op, paren, rest = key.partition("(")
        if not paren or not rest.endswith(")") or not op.isidentifier():
            raise ValueError(f"not a problem key: {key!r}")
        params: dict[str, int | str] = {}
        for item in filter(None, rest[:-1].split(",")):
            name, eq, value = item.partition("=")
            if not eq or not name.isidentifier():
                raise ValueError(f"not a problem key: {key!r}")
            params[name] = int(value) if value.lstrip("-").isdigit() else value
        layout, dtype = str(params.pop("layout", NHWC)), str(params.pop("dtype", FLOAT32))
        if layout not in LAYOUTS or dtype not in list(DType):
            raise ValueError(f"no layout {layout!r} or element type {dtype!r}: {key!r}")
        return cls.of(op, params, layout, DType(dtype))

    @property
    def key(self) -> str:
        """Canonical text, for example ``conv2d(act=relu,ci=40,co=80,…)``; records store it.

        Element type and layout come last, and only if they are not fp32 and NHWC.
        """
        items = [f"{name}={value}" for name, value in self.params]
        if self.dtype is not FLOAT32:
            items.append(f"dtype={self.dtype}")
        if self.layout != NHWC:
            items.append(f"layout={self.layout}")
        return f"{self.op}({','.join(items)})"

    @property
    def layout_in(self) -> str:
        """Of the inputs: ``nhwc`` or ``nchw``."""
        return self.layout.split("_to_")[0]

    @property
    def layout_out(self) -> str:
        """Of the outputs: ``nhwc`` or ``nchw``."""
        return self.layout.split("_to_")[-1]

    def __getitem__(self, name: str) -> int:
        value = dict(self.params)[name]
        if not isinstance(value, int):
            raise TypeError(f"{name} of {self.key} is not an integer")
        return value

    def get(self, name: str, default: int) -> int:
        """An optional integer parameter; problems leave out what has its default."""
        value = dict(self.params).get(name, default)
        return value if isinstance(value, int) else default

    def text(self, name: str) -> str:
        return str(dict(self.params)[name])

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True)
class Workload:
    """What is tuned: a problem computed by one algorithm, named as in the registry."""

    problem: Problem
    algorithm: str

    @classmethod
    def parse(cls, key: str) -> Workload:
        """Inverse of :attr:`key`. Raises ``ValueError`` on anything else."""
        problem, colon, algorithm = key.rpartition(":")
        if not colon or not algorithm.isidentifier():
            raise ValueError(f"not a workload key: {key!r}")
        return cls(Problem.parse(problem), algorithm)

    @property
    def key(self) -> str:
        """Canonical text: that of the problem, a colon, the algorithm."""
        return f"{self.problem.key}:{self.algorithm}"

    @property
    def short_name(self) -> str:
        """A few words, such as ``conv2d winograd4 56x56 40>80 3x3 relu``; the algorithm is left out
        where it is the direct one."""
        problem = self.problem
        params, words = dict(problem.params), [problem.op]
        words += [self.algorithm] if self.algorithm != "direct" else []
        words += [problem.layout.replace("_to_", ">")] if problem.layout != NHWC else []
        words += [problem.dtype] if problem.dtype is not FLOAT32 else []
        named = len(words)
        if {"h", "w"} <= params.keys():
            words.append(f"{params['h']}x{params['w']}")
        channels = [str(params[name]) for name in ("ci", "c", "hid", "co") if name in params]
        words += [">".join(channels)] if channels else []
        if {"k", "st"} <= params.keys():  # a square window
            params |= {"kh": params["k"], "kw": params["k"], "sh": params["st"]}
        if {"kh", "kw"} <= params.keys():
            stride = f"/{params['sh']}" if params.get("sh", 1) != 1 else ""
            words.append(f"{params['kh']}x{params['kw']}{stride}")
        counted = (("groups", "g"), ("dh", "d"))  # where there are several; rows stand for both
        words += [f"{letter}{params[name]}" for name, letter in counted if name in params]
        if len(words) == named:
            words += [f"{name}={value}" for name, value in problem.params]
        words += [v for v in params.values() if isinstance(v, str) and v != "none"]
        return " ".join(words)

    def __str__(self) -> str:
        return self.key
