"""One run of the tuner: feeds the queue of trials, records what comes out, compares finalists."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tvm_flow.backends import CPU, Backend
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.record import OK, Record, freeze
from tvm_flow.tuning.records.store import RecordStore
from tvm_flow.tuning.search import finals
from tvm_flow.tuning.search.cost_model import CostModel
from tvm_flow.tuning.search.report import EventKind, OnEvent, Phase, TuneEvent, TuneReport
from tvm_flow.tuning.search.reserve import Reserve
from tvm_flow.tuning.search.scheduler import batch_size, contenders, next_task
from tvm_flow.tuning.search.state import TaskState
from tvm_flow.tuning.search.trial_queue import Job, TrialQueue
from tvm_flow.tuning.worker.bench import Bench, TrialRunner
from tvm_flow.tuning.worker.builder import Builder
from tvm_flow.tuning.worker.cores import CorePlan
from tvm_flow.tuning.worker.protocol import Outcome, WorkerRole

_STEP_S = 0.5  # longest wait before limits are looked at again
_MOST_RESERVED = 0.4  # share of the time limit
_NOISE = 0.2  # share of disturbed repeats from which the user is told


class TunerRun:
    """State of a run; :meth:`go` does all the work, :meth:`report` tells how far it is."""

    def __init__(
        self,
        board: Board,
        store: RecordStore,
        *,
        threads: int,
        seed: int,
        options: TuneOptions,
        on_event: OnEvent | None,
        bench: Bench,
        backend: Backend = CPU,
    ) -> None:
        self.board, self.store, self.threads, self.seed = board, store, threads, seed
        self.options, self.on_event, self.bench = options, on_event, bench
        self.builds = WorkerRole("build", backend.builder)
        self.session = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.started = time.monotonic()
        self.target: int | None = None
        self.limit_s: float | None = None
        self.states: list[TaskState] = []
        self.model = CostModel(seed)
        self.stopped, self.interrupted, self.last_cause = "", False, ""
        self._learnt_at = 0
        self._disturbed: list[float] = []
        self._queue: TrialQueue
        self._reserve: Reserve
        self._runner: TrialRunner | None = None
        self._proposed: list[Job] = []
        self._told: tuple[str, ...] = ()
        self._phase: Phase = "search"

    def go(self, plan: CorePlan) -> None:
        """Search, then compare; ends early on Ctrl-C, with the workers killed."""
        try:
            self._work(plan)
        except KeyboardInterrupt:
            self.interrupted, self.stopped = True, "interrupted"
        self._tell("stop", self.stopped)

    def _work(self, plan: CorePlan) -> None:
        with tempfile.TemporaryDirectory(prefix="tvm-flow-tune-") as name, ExitStack() as stack:
            timeout_s = self.options.build_timeout_s
            builder = Builder(plan, Path(name), timeout_s, role=self.builds)
            stack.callback(builder.close)
            runner = self.bench.runner(self.board, plan, Path(name), self.options, self.seed)
            stack.callback(runner.close)
            self._runner = runner
            self._queue = TrialQueue(builder, runner, plan.overlap, self.options.finalists)
            self._reserve = Reserve(self._queue, self.options.finalists)
            self._tell("start", f"{len(self.states)} tasks on {self.board.title}")
            self._search()
            self._compare()

    def _search(self) -> None:
        while True:
            self._fill()
            if not self._queue.busy:
                return
            for job, outcome in self._queue.step(_STEP_S):
                self._finish(job, outcome)
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        """Nothing may be measured for a while: say why."""
        notes = tuple(self._runner.notes()) if self._runner is not None else ()
        if notes and notes != self._told:
            self._tell("note", notes[0])
        self._told = notes

    def _fill(self) -> None:
        """Keep the workers busy as long as the limits allow."""
        while self._queue.room > 0:
            self.stopped = self._why_stop()
            if self.stopped:
                self._proposed.clear()
                return
            self._proposed = [job for job in self._proposed if not job.state.settled()]
            if not self._proposed and not self._propose():
                if not self._queue.busy:
                    self.stopped = "nothing left to try or to gain"
                return
            self._queue.feed(self._proposed.pop(0))

    def _why_stop(self) -> str:
        if self._elapsed() >= self._search_limit():
            return "time is up"
        left = self._trials_left()
        return "" if left is None or left > 0 else f"{self.target} trials are done"

    def _trials_left(self) -> int | None:
        """Trials that may still be started: those in the queue are taken as spent."""
        if self.target is None:
            return None
        return self.target - sum(state.trials for state in self.states) - self._queue.load

    def _search_limit(self) -> float:
        """Seconds after which the rest of the time belongs to what is on its way already and to the
        closing comparison."""
        if self.limit_s is None:
            return math.inf
        earliest = (1 - _MOST_RESERVED) * self.limit_s
        if self._elapsed() < earliest:
            return earliest  # early enough to reckon then
        return max(earliest, self.limit_s - self._reserve.seconds(self.states))

    def _propose(self) -> bool:
        """Queue a batch of the most promising task; false if there is none."""
        while (state := next_task(self.states)) is not None:
            self._train()
            left = self._trials_left()
            count = batch_size(self.states, state, self.options.batch, left)
            first = state.batches == 0
            state.batches += 1
            batch = state.search.propose(
                count, self.model, state.good(), 0.0 if first else self.options.epsilon
            )
            self._proposed = [Job(state, knobs) for knobs in batch]
            if batch:
                return True
        return False

    def _train(self) -> None:
        """Teach the cost model once enough new trials have come in."""
        known = sum(len(state.times) + len(state.failed) for state in self.states)
        if known >= self._learnt_at + max(self.options.batch, known // 20):
            self._learnt_at = known
            self.model.update(
                [state.lesson() for state in self.states],
                [state.build_lesson() for state in self.states],
            )

    def _finish(self, job: Job, outcome: Outcome) -> None:
        """Record a trial; knobs without a kernel are no trial."""
        seconds = outcome.median_s if outcome.median_s is not None else math.inf
        if outcome.status != "invalid":
            self._record(job, outcome, "search")
        job.state.note(job.knobs, outcome.status, seconds)
        if outcome.status == "invalid":
            return
        if outcome.status == OK:
            self._disturbed.append(outcome.disturbed)
        else:
            self.last_cause = f"{outcome.status}: {outcome.cause}"
        told = f"{1e6 * seconds:.1f} us" if outcome.status == OK else self.last_cause
        self._tell("trial", f"{_short(job.knobs)}: {told}", job.state.task.workload)

    def _record(self, job: Job, outcome: Outcome, stage: str) -> None:
        self.store.add(
            Record.of(
                job.state.task.workload,
                job.knobs,
                self.threads,
                outcome.status,
                median_s=outcome.median_s,
                p10_s=outcome.p10_s,
                p90_s=outcome.p90_s,
                label=self.bench.label,
                stage=stage,
                session=self.session,
                cause=outcome.cause,
            )
        )

    def _compare(self) -> None:
        touched = [state for state in contenders(self.states) if finals.worth_comparing(state)]
        for state in sorted(touched, key=finals.saving, reverse=True):
            if self.limit_s is not None and self._elapsed() >= self.limit_s:
                return
            most = self.options.finalists
            results = finals.compare(self._queue, state, most, self._tell_waiting)
            for knobs, outcome in results:
                self._record(Job(state, knobs), outcome, "final")
                assert outcome.median_s is not None
                state.confirm(freeze(knobs), outcome.median_s, self.session)
            self._tell("final", f"{1e6 * state.best_s:.1f} us", state.task.workload)

    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _tell(self, kind: EventKind, message: str, workload: Workload | None = None) -> None:
        if self.on_event is not None:
            phases: dict[EventKind, Phase] = {"final": "final", "stop": "done"}
            self._phase = phases.get(kind, self._phase)  # notes come in all of them
            self.on_event(TuneEvent(kind, message, self.report(self._phase), workload))

    def report(self, phase: Phase) -> TuneReport:
        return TuneReport(
            tuple(state.report() for state in self.states),
            self.threads,
            self._elapsed(),
            sum(state.measured for state in self.states),
            sum(len(state.invalid) for state in self.states),
            self.target,
            self.limit_s,
            phase,
            self.stopped,
            self.interrupted,
            tuple(self._notes()),
            self.bench.label,
        )

    def _notes(self) -> Iterable[str]:
        yield from self.store.notes
        if self._runner is not None:
            yield from self._runner.notes()
        for state in self.states:
            known = self.store.stale(state.task.workload, state.search.space)
            if stale := [record for record in known if record.threads == self.threads]:
                yield f"{len(stale)} records of {state.task.workload} have knobs it no longer has"
        noise = sum(self._disturbed) / max(1, len(self._disturbed))
        if noise > _NOISE:
            yield f"other load took the core in {noise:.0%} of the repeats; those were left out"


def _short(knobs: dict[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in knobs.items())
