"""Builds candidates in sub-processes."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from tvm_flow.tuning.records.record import OK
from tvm_flow.tuning.worker.cores import CorePlan
from tvm_flow.tuning.worker.process import WorkerCrashed, WorkerExpired, WorkerProcess
from tvm_flow.tuning.worker.protocol import (
    BUILD,
    BuildAnswer,
    BuildRequest,
    Candidate,
    KernelRequest,
    WorkerRole,
)

#: A kernel's library is small and short-lived; threads would only take cores from each other.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TVM_NUM_THREADS": "1"}


@dataclass(frozen=True)
class BuiltKernel:
    """Outcome of a build. ``status``: ``ok``, ``invalid`` (these knobs have no kernel: not a
    trial), ``build_error`` or ``timeout``; with ``ok`` the library and its argument shapes.
    ``seconds``: how long it took."""

    status: str
    cause: str = ""
    library: Path | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    seconds: float = 0.0

    @property
    def candidate(self) -> Candidate:
        """What the run worker is told, where the build went well."""
        assert self.library is not None
        return Candidate(self.library, self.shapes)

    def discard(self) -> None:
        if self.library is not None:
            self.library.unlink(missing_ok=True)


@dataclass(frozen=True)
class _PendingBuild:
    future: Future[BuiltKernel]
    request: BuildRequest


class Builder:
    """As many build workers as the plan has cores for; libraries go to ``folder``.

    ``role``: what its workers build with. Those on measuring cores pause while the builder is on
    :meth:`hold`.
    """

    def __init__(
        self, plan: CorePlan, folder: Path, timeout_s: float, *, role: WorkerRole = BUILD
    ) -> None:
        self._folder, self._timeout_s = folder, timeout_s
        self._numbers = itertools.count()
        self._pending: deque[_PendingBuild] = deque()
        self._change = threading.Condition()
        self._held = self._closed = False
        self._loud = 0  # workers at work on measuring cores
        self._workers = [
            WorkerProcess(role, plan.cores_of(n), _ENVIRONMENT, folder / f"build-{n}.log")
            for n in range(plan.builders)
        ]
        loud = [bool({*worker.cores} & {*plan.measure}) for worker in self._workers]
        self.undisturbing = loud.count(False)
        self._threads = [
            threading.Thread(target=self._serve, args=pair, name=f"builder-{n}", daemon=True)
            for n, pair in enumerate(zip(self._workers, loud, strict=True))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def workers(self) -> int:
        return len(self._workers)

    @property
    def quiet(self) -> bool:
        """Whether no worker is busy on a measuring core."""
        with self._change:
            return not self._loud

    def hold(self, on: bool) -> None:
        """From now on, or no longer, begin nothing on measuring cores."""
        with self._change:
            self._held = on
            self._change.notify_all()

    def submit(self, kernel: KernelRequest, knobs: Mapping[str, int]) -> Future[BuiltKernel]:
        """Start building."""
        library = self._folder / f"candidate-{next(self._numbers)}.so"
        job = _PendingBuild(Future(), BuildRequest(kernel, dict(knobs), library))
        with self._change:
            self._pending.append(job)
            self._change.notify_all()
        return job.future

    def close(self) -> None:
        """Kill the workers, also busy ones."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join()
        for job in self._pending:
            job.future.cancel()

    def _serve(self, worker: WorkerProcess, loud: bool) -> None:
        """One worker's thread: build what comes until closed."""
        while (job := self._next(loud)) is not None:
            try:
                built: BuiltKernel | Exception = self._build(worker, job.request)
            except Exception as error:  # it is for whoever waits
                built = error
            with self._change:
                self._loud -= loud  # before it is known: who waits for quiet is woken by a result
            if isinstance(built, Exception):
                job.future.set_exception(built)
            else:
                job.future.set_result(built)

    def _next(self, loud: bool) -> _PendingBuild | None:
        """The next job that this worker may begin; ``None`` once closed."""
        with self._change:
            self._change.wait_for(
                lambda: self._closed or (self._pending and not (loud and self._held))
            )
            if self._closed:
                return None
            self._loud += loud
            return self._pending.popleft()

    def _build(self, worker: WorkerProcess, request: BuildRequest) -> BuiltKernel:
        began = time.monotonic()
        try:
            answer = worker.request(request, BuildAnswer, self._timeout_s)
        except WorkerCrashed as error:
            return BuiltKernel("build_error", f"compiler: {error}")
        except WorkerExpired as error:
            return BuiltKernel("timeout", f"build: {error}")
        if not answer.ok:
            return BuiltKernel(answer.status, answer.cause)
        return BuiltKernel(OK, "", request.library, answer.shapes, time.monotonic() - began)
