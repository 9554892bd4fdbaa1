"""What the tuner and its workers say to each other.

Every kind of request has one kind of answer; :mod:`tvm_flow.support.messages` carries both over the
pipe. Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_flow.schedules.devices import AnyDevice
from tvm_flow.tuning.records.record import OK

if TYPE_CHECKING:  # workers do without the boards' descriptions
    from tvm_flow.schedules.contract.algorithm import Algorithm
    from tvm_flow.schedules.contract.problem import Workload
    from tvm_flow.targets import Board
    from tvm_flow.tuning.options import TuneOptions

#: Name of the only function in a candidate's library.
SYMBOL = "candidate"
#: What a worker does, by kind of request.
Handlers = Mapping[type, Callable[[Any], Any]]


@dataclass(frozen=True)
class WorkerRole:
    """What a worker process is for. ``name``: for its log and messages; ``handlers``:
    ``"module:function"``, called in the worker with ``options`` (JSON) as keyword arguments; it
    returns :data:`Handlers`."""

    name: str
    handlers: str
    options: dict[str, Any] = field(default_factory=dict)


BUILD = WorkerRole("build", "tvm_flow.tuning.worker.kernel_build:handlers")
RUN = WorkerRole("run", "tvm_flow.tuning.worker.kernel_run:handlers")


@dataclass(frozen=True)
class Order:
    """How a request travels: should nobody enforce its deadline (the tuner was killed), the worker
    ends itself after ``alarm_s``."""

    alarm_s: float
    request: dict[str, Any]


@dataclass(frozen=True)
class KernelRequest:
    """The kernel in question. ``workload``: its key; ``device``: what schedules may know of where
    it runs; ``target``: what TVM's ``Target`` takes; ``arch``, ``glibc``: what is linked for;
    ``algorithm_module``: importing it in the worker registers the algorithm there, wherever it is
    defined."""

    workload: str
    device: AnyDevice
    target: dict[str, Any]
    arch: str
    glibc: str
    algorithm_module: str

    @classmethod
    def of(
        cls, workload: Workload, algorithm: Algorithm[AnyDevice], board: Board, device: AnyDevice
    ) -> KernelRequest:
        """``workload`` by ``algorithm`` as it is built for ``board``."""
        module = type(algorithm).__module__
        target = board.tvm_target()
        return cls(workload.key, device, target, board.arch, board.glibc_floor, module)


@dataclass(frozen=True)
class BuildRequest:
    """Build the kernel with ``knobs`` into the shared library ``library``."""

    kernel: KernelRequest
    knobs: dict[str, int]
    library: Path


@dataclass(frozen=True)
class Candidate:
    """A kernel that was built: its library, and the shapes of its arguments there."""

    library: Path
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TrialSettings:
    """How candidates are checked and timed. ``seed``: of their inputs; ``cache``: folder for
    reference outputs, so that the worker after one that crashed need not compute them again;
    ``tolerance``: greatest difference from them, relative to the largest; ``budget_s``: measuring
    time of one trial; ``cold_bytes``: of weights that come between two calls of a kernel."""

    seed: int
    cache: Path
    tolerance: float
    budget_s: float
    cold_bytes: int = 0

    @classmethod
    def of(cls, options: TuneOptions, folder: Path, seed: int) -> TrialSettings:
        """Those of a tuner run, whose temporary files go to ``folder``."""
        budget_s = options.trial_budget_s
        return cls(seed, folder, options.tolerance, budget_s, options.cold_bytes)


@dataclass(frozen=True)
class TrialRequest:
    """What every request about running a kernel says."""

    kernel: KernelRequest
    settings: TrialSettings


@dataclass(frozen=True)
class PrepareRequest(TrialRequest):
    """Make inputs and reference outputs of the kernel, for later requests about it."""


@dataclass(frozen=True)
class MeasureRequest(TrialRequest):
    """Check and time one candidate. ``best_s``: the time to beat per call, or infinity."""

    candidate: Candidate
    best_s: float


@dataclass(frozen=True)
class CompareRequest(TrialRequest):
    """Check several candidates, then time them in turns, at least ``rounds`` times."""

    candidates: tuple[Candidate, ...]
    rounds: int


@dataclass(frozen=True)
class Answer:
    """``status``: ``ok``, or one of :mod:`tvm_flow.tuning.records.record` with its ``cause`` in a
    line. What a kind of answer says beside these has its default unless the status is ``ok``."""

    status: str
    cause: str = ""

    @property
    def ok(self) -> bool:
        return self.status == OK


@dataclass(frozen=True)
class BuildAnswer(Answer):
    """``status`` may also be ``invalid``: no kernel exists for these knobs. ``shapes``: of the
    kernel's arguments."""

    shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Outcome(Answer):
    """What came of a trial; times per call.

    ``disturbed``: share of repeats that were thrown away because something else had the core.
    ``spent_s``: how long the trial took, the computing of its task's reference left out, by the
    tuner's clock.
    """

    median_s: float | None = None
    p10_s: float | None = None
    p90_s: float | None = None
    disturbed: float = 0.0
    spent_s: float = 0.0


@dataclass(frozen=True)
class Comparison(Answer):
    """Outcomes in the order of the candidates."""

    outcomes: tuple[Outcome, ...] = ()

    def of_each(self, candidates: int) -> list[Outcome]:
        """One outcome per candidate: all fail if one does."""
        return list(self.outcomes) if self.ok else [Outcome(self.status, self.cause)] * candidates


def one_line(error: BaseException) -> str:
    """The last line of an error's text with its type, short enough for a record."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no message'}"[:300]
