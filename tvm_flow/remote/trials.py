"""In the ``board`` worker of the tuner: check and time candidates on a board.

The session is opened by a request of its own, so that the tuner can tell a board that does not
answer from a candidate that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm_flow.remote import bundle_trial
from tvm_flow.remote.address import Address
from tvm_flow.remote.health import Throttled, require_steady
from tvm_flow.remote.session import BoardSession, SessionExpired, SessionLost
from tvm_flow.support.channel import Message
from tvm_flow.tuning.worker import kernel_run
from tvm_flow.tuning.worker.kernel_build import SYMBOL, one_line
from tvm_flow.tuning.worker.kernel_run import Clock, cold_copies
from tvm_flow.tuning.worker.problem import Problem, WrongResult


class BoardDesk:
    """The worker's side of the tuner's requests; it has one session at a time."""

    def __init__(self) -> None:
        self._session: BoardSession | None = None

    def handle(self, request: Message) -> Message:
        """Answer ``prepare``, ``open``, ``measure``, ``compare`` or ``bundle``.

        Besides the statuses of a trial an answer may have ``lost`` (the session broke: whose fault
        it was, the tuner finds out) and ``throttled`` (the board was too hot or slow to be
        believed).
        """
        if request["action"] == "prepare":
            return kernel_run.handle(request)
        if request["action"] == "open":
            return self._open(request)
        session, self._session = self._session, None  # closed when this method is left
        assert session is not None
        try:
            if request["action"] == "bundle":
                return bundle_trial.compare(session, request)
            action = _measure if request["action"] == "measure" else _compare
            return action(session, kernel_run.prepare(request), request)
        except Exception as error:  # of the candidate, the session or the board
            return _failed(session, error)

    def _open(self, request: Message) -> Message:
        self._session = None
        host, port, match_key = request["seat"]
        try:
            self._session = BoardSession(host, port, match_key, request["limit_s"])
            return {"status": "ok", "board": self._session.status(), "ours": self._session.ours,
                    "arch": self._session.arch(), "place": str(Address(host, port))}  # fmt: skip
        except Exception as error:  # TVM raises what it likes
            return {"status": "lost", "cause": one_line(error)}


def _failed(session: BoardSession, error: Exception) -> Message:
    if isinstance(error, WrongResult):
        return {"status": "wrong_result", "cause": str(error)[:300]}
    if isinstance(error, Throttled):
        return {"status": "throttled", "cause": str(error)}
    meaning = session.failure(error)
    if isinstance(meaning, SessionLost):
        return {"status": "lost", "cause": one_line(error)}
    if isinstance(meaning, SessionExpired):
        return {"status": "timeout", "cause": "the board ended it at the session's limit"}
    return {"status": "run_error", "cause": one_line(error)}


def _measure(session: BoardSession, given: Problem, request: Message) -> Message:
    """Check and time one candidate; see :func:`tvm_flow.tuning.worker.kernel_run.measure`."""
    clock = _candidate(session, given, request["libraries"][0], request, "candidate-0.so")
    steady = require_steady(session)
    kernel_run.time_one(clock, request["budget_s"], request["best_s"])
    steady(session)
    return {"status": "ok", **clock.summary()}


def _compare(session: BoardSession, given: Problem, request: Message) -> Message:
    """Check several candidates in one session, then time them in turns."""
    clocks = [
        _candidate(session, given, library, request, f"candidate-{at}.so")
        for at, library in enumerate(request["libraries"])
    ]
    steady = require_steady(session)
    kernel_run.time_in_turns(clocks, request["budget_s"], request["rounds"])
    steady(session)
    return {"status": "ok", "results": [clock.summary() for clock in clocks]}


def _candidate(
    session: BoardSession, given: Problem, library: Message, request: Message, name: str
) -> Clock:
    """Upload a library, compare what it computes with the reference, and wind its clock."""
    session.upload(Path(library["path"]), name)
    session.load(name)
    shapes = library["shapes"]
    values = [*given.given, *given.unwritten()]
    arguments = [
        session.tensor(array.reshape(shape)) for array, shape in zip(values, shapes, strict=True)
    ]
    session.run(name, SYMBOL, arguments)
    given.check_values(_downloaded(given, arguments), request["tolerance"])
    copies = cold_copies(given, request["cpu"]["l2_bytes"]) if session.ours else 1
    sets = [arguments, *(_fresh_weights(session, given, arguments) for _ in range(copies - 1))]

    def timed(number: int) -> float:
        return session.time(name, SYMBOL, number, sets)

    return Clock(timed, one_thread=False)  # the clock that counts is the board's


def _downloaded(given: Problem, arguments: Sequence[Any]) -> list[Any]:
    """Inputs and outputs as they are now; weights are left there, they take longest."""
    return [
        None if spec.role == "weight" else tensor.numpy()
        for spec, tensor in zip(given.specs, arguments, strict=True)
    ]


def _fresh_weights(session: BoardSession, given: Problem, arguments: Sequence[Any]) -> list[Any]:
    return [
        session.copy(tensor) if spec.role == "weight" else tensor
        for spec, tensor in zip(given.specs, arguments, strict=True)
    ]
