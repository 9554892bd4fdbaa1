"""In the board worker of the tuner: check and time candidates on a board.

The session is opened by a request of its own, so that the tuner can tell a board that does not
answer from a candidate that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tvm_flow.measure.kernel_timer import KernelTimer, time_in_turns, time_one
from tvm_flow.remote import bundle_trial
from tvm_flow.remote.health import Throttled, require_steady
from tvm_flow.remote.protocol import (
    LOST,
    THROTTLED,
    BundleAnswer,
    BundleRequest,
    OpenAnswer,
    OpenRequest,
)
from tvm_flow.remote.session import BoardSession, SessionExpired, SessionLost
from tvm_flow.support.address import Address
from tvm_flow.tuning.records.record import OK
from tvm_flow.tuning.worker import kernel_run
from tvm_flow.tuning.worker.kernel_run import cold_copies, data_of, outcome_of
from tvm_flow.tuning.worker.protocol import (
    SYMBOL,
    Answer,
    Candidate,
    CompareRequest,
    Comparison,
    Handlers,
    MeasureRequest,
    Outcome,
    PrepareRequest,
    TrialRequest,
    one_line,
)
from tvm_flow.tuning.worker.trial_data import TrialData, WrongResult

A = TypeVar("A", bound=Answer)


def handlers() -> Handlers:
    """What a board worker does."""
    desk = BoardDesk()
    return {
        PrepareRequest: kernel_run.prepare,
        OpenRequest: desk.open,
        MeasureRequest: desk.measure,
        CompareRequest: desk.compare,
        BundleRequest: desk.run_bundle,
    }


class BoardDesk:
    """The worker's side of the tuner's requests; it has one session at a time, for one request."""

    def __init__(self) -> None:
        self._session: BoardSession | None = None

    def open(self, request: OpenRequest) -> OpenAnswer:
        """Open the session; ``lost`` where the board gives none."""
        self._session = None
        host, port = request.host, request.port
        try:
            self._session = opened = BoardSession(host, port, request.match_key, request.limit_s)
            place = str(Address(host, port))
            return OpenAnswer(OK, "", opened.status(), opened.ours, opened.arch(), place)
        except Exception as error:  # TVM raises what it likes
            return OpenAnswer(LOST, one_line(error))

    def measure(self, request: MeasureRequest) -> Outcome:
        """Check and time one candidate; see :func:`tvm_flow.tuning.worker.kernel_run.measure`."""

        def timed(session: BoardSession) -> Outcome:
            given = data_of(request)
            timer = _candidate(session, given, request.candidate, request, "candidate-0.so")
            steady = require_steady(session)
            time_one(timer, request.settings.budget_s, request.best_s)
            steady(session)
            return outcome_of(timer)

        return self._in_session(Outcome, timed)

    def compare(self, request: CompareRequest) -> Comparison:
        """Check several candidates in one session, then time them in turns."""

        def timed(session: BoardSession) -> Comparison:
            given = data_of(request)
            timers = [
                _candidate(session, given, candidate, request, f"candidate-{at}.so")
                for at, candidate in enumerate(request.candidates)
            ]
            steady = require_steady(session)
            time_in_turns(timers, request.settings.budget_s, request.rounds)
            steady(session)
            return Comparison(OK, "", tuple(map(outcome_of, timers)))

        return self._in_session(Comparison, timed)

    def run_bundle(self, request: BundleRequest) -> BundleAnswer:
        """See :func:`tvm_flow.remote.bundle_trial.compare`."""
        return self._in_session(
            BundleAnswer, lambda session: bundle_trial.compare(session, request)
        )

    def _in_session(self, answer: type[A], action: Callable[[BoardSession], A]) -> A:
        """What ``action`` makes of the session, or an ``answer`` of what went wrong."""
        session, self._session = self._session, None  # closed when this method is left
        assert session is not None
        try:
            return action(session)
        except Exception as error:  # of the candidate, the session or the board
            return answer(*_failure(session, error))


def _failure(session: BoardSession, error: Exception) -> tuple[str, str]:
    """Status and cause."""
    if isinstance(error, WrongResult):
        return "wrong_result", str(error)[:300]
    if isinstance(error, Throttled):
        return THROTTLED, str(error)
    meaning = session.failure(error)
    if isinstance(meaning, SessionLost):
        return LOST, one_line(error)
    if isinstance(meaning, SessionExpired):
        return "timeout", "the board ended it at the session's limit"
    return "run_error", one_line(error)


def _candidate(
    session: BoardSession, given: TrialData, candidate: Candidate, request: TrialRequest, name: str
) -> KernelTimer:
    """Upload a library, compare what it computes with the reference, and make its timer."""
    session.upload(candidate.library, name)
    session.load(name)
    values = [*given.given, *given.unwritten()]
    arguments = [
        session.tensor(array.reshape(shape))
        for array, shape in zip(values, candidate.shapes, strict=True)
    ]
    session.run(name, SYMBOL, arguments)
    given.check_values(_downloaded(given, arguments), request.settings.tolerance)
    copies = cold_copies(given, request.kernel.device.l2_bytes) if session.ours else 1
    sets = [arguments, *(_fresh_weights(session, given, arguments) for _ in range(copies - 1))]

    def timed(number: int) -> float:
        return session.time(name, SYMBOL, number, sets)

    return KernelTimer(timed, one_thread=False)  # the clock that counts is the board's


def _downloaded(given: TrialData, arguments: Sequence[Any]) -> list[Any]:
    """Inputs and outputs as they are now; weights are left there, they take longest."""
    return [
        None if spec.role == "weight" else tensor.numpy()
        for spec, tensor in zip(given.specs, arguments, strict=True)
    ]


def _fresh_weights(session: BoardSession, given: TrialData, arguments: Sequence[Any]) -> list[Any]:
    return [
        session.copy(tensor) if spec.role == "weight" else tensor
        for spec, tensor in zip(given.specs, arguments, strict=True)
    ]
