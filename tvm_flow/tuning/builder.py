"""Builds candidates in sub-processes."""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tvm_flow.tuning.channel import Message
from tvm_flow.tuning.cores import CorePlan
from tvm_flow.tuning.process import WorkerCrashed, WorkerExpired, WorkerProcess

#: A kernel's library is small and short-lived; threads would only take cores from each other.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TVM_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Built:
    """Outcome of a build. ``status``: ``ok``, ``invalid`` (these knobs have no kernel: not a
    trial), ``build_error`` or ``timeout``; with ``ok`` the library and its argument shapes.
    ``seconds``: how long it took."""

    status: str
    cause: str = ""
    library: Path | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    seconds: float = 0.0

    @property
    def message(self) -> Message:
        """What the run worker is told."""
        return {"path": str(self.library), "shapes": self.shapes}

    def discard(self) -> None:
        if self.library is not None:
            self.library.unlink(missing_ok=True)


class Builder:
    """As many build workers as the plan has cores for; libraries go to ``folder``."""

    def __init__(self, plan: CorePlan, folder: Path, timeout_s: float) -> None:
        self._folder, self._timeout_s = folder, timeout_s
        self._numbers = itertools.count()
        self._workers = [
            WorkerProcess("build", plan.build, _ENVIRONMENT, folder / f"build-{n}.log")
            for n in range(plan.builders)
        ]
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._pool = ThreadPoolExecutor(plan.builders, thread_name_prefix="builder")

    @property
    def workers(self) -> int:
        return len(self._workers)

    def submit(self, kernel: Message, knobs: Mapping[str, int]) -> Future[Built]:
        """Start building; ``kernel`` is from :func:`tvm_flow.tuning.tasks.describe`."""
        library = self._folder / f"candidate-{next(self._numbers)}.so"
        return self._pool.submit(self._build, kernel, dict(knobs), library)

    def close(self) -> None:
        """Kill the workers, also busy ones."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop()
        self._pool.shutdown(wait=True)

    def _build(self, kernel: Message, knobs: dict[str, int], library: Path) -> Built:
        worker = self._idle.get()
        request = {**kernel, "knobs": knobs, "library": str(library)}
        began = time.monotonic()
        try:
            answer = worker.request(request, self._timeout_s)
        except WorkerCrashed as error:
            return Built("build_error", f"compiler: {error}")
        except WorkerExpired as error:
            return Built("timeout", f"build: {error}")
        finally:
            self._idle.put(worker)
        if answer["status"] != "ok":
            return Built(answer["status"], answer["cause"])
        shapes = tuple(tuple(shape) for shape in answer["shapes"])
        return Built("ok", "", library, shapes, time.monotonic() - began)
