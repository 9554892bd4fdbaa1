"""In the model worker: check a candidate's result under emulation, then model its time."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from tvm_flow.modelled.emulate import EmulationFailed, emulate
from tvm_flow.modelled.mca import Analyser
from tvm_flow.modelled.model import cost_of
from tvm_flow.modelled.protocol import ModelSetup
from tvm_flow.support.channel import Message
from tvm_flow.support.errors import TuningError
from tvm_flow.support.messages import from_message
from tvm_flow.tuning.records.record import OK
from tvm_flow.tuning.worker import kernel_run
from tvm_flow.tuning.worker.kernel_run import guarded
from tvm_flow.tuning.worker.protocol import (
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

#: Not the candidate's fault for certain: too slow here today, a full disk, no memory.
_PASSING = ("timeout", "run_error")


def handlers(setup: Message) -> Handlers:
    """What a worker for a :class:`ModelSetup` does: as a run worker, with modelled times."""
    desk = ModelDesk(from_message(setup, ModelSetup))
    return {
        PrepareRequest: kernel_run.prepare,
        MeasureRequest: desk.measure,
        CompareRequest: desk.compare,
    }


class ModelDesk:
    """Models candidates. It remembers outcomes by content of the library and workload: the model
    gives the same one every time, so the closing comparison of a task costs nothing."""

    def __init__(self, setup: ModelSetup) -> None:
        self._setup = setup
        tools, model = setup.tools, setup.model
        # kept between requests: it remembers the code it has simulated
        self._analyser = Analyser(tools.disassembler, tools.analyser, model.triple, model.core.mca)
        self._known: dict[tuple[str, str], Outcome] = {}

    def measure(self, request: MeasureRequest) -> Outcome:
        """Check and model one candidate."""
        return guarded(
            Outcome, request, lambda given: self._outcome(given, request.candidate, request)
        )

    def compare(self, request: CompareRequest) -> Comparison:
        """Check and model several candidates."""

        def modelled(given: TrialData) -> Comparison:
            outcomes = [self._outcome(given, one, request) for one in request.candidates]
            failed = next((outcome for outcome in outcomes if not outcome.ok), None)
            if failed is not None:
                return Comparison(failed.status, failed.cause)
            return Comparison(OK, "", tuple(outcomes))

        return guarded(Comparison, request, modelled)

    def _outcome(self, given: TrialData, candidate: Candidate, request: TrialRequest) -> Outcome:
        content = hashlib.sha256(candidate.library.read_bytes()).hexdigest()
        key = request.kernel.workload, content
        if key in self._known:
            return self._known[key]
        outcome = self._evaluate(given, candidate, request)
        if outcome.status not in _PASSING:
            self._known[key] = outcome
        return outcome

    def _evaluate(self, given: TrialData, candidate: Candidate, request: TrialRequest) -> Outcome:
        setup, buffers = self._setup, given.buffers()
        try:
            with tempfile.TemporaryDirectory(dir=request.settings.cache) as folder:
                trace = emulate(
                    str(candidate.library), buffers, candidate.shapes, model=setup.model,
                    tools=setup.tools, folder=Path(folder), timeout_s=setup.emulation_timeout_s,
                )  # fmt: skip
            given.check(buffers, request.settings.tolerance)
            cycles = cost_of(trace, setup.model, self._analyser).cycles
        except EmulationFailed as error:
            return Outcome(error.status, str(error)[:300])
        except WrongResult as error:
            return Outcome("wrong_result", str(error)[:300])
        except TuningError as error:
            return Outcome("run_error", one_line(error))
        seconds = cycles / (1e6 * setup.model.mhz)
        return Outcome(OK, "", seconds, seconds, seconds)
