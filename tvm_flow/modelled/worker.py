"""In the model worker: check a candidate's result under emulation, then model its time."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cache
from pathlib import Path

from tvm_flow.modelled.cores import CoreModel
from tvm_flow.modelled.emulate import EmulationFailed, emulate
from tvm_flow.modelled.mca import Analyser
from tvm_flow.modelled.model import cost_of
from tvm_flow.modelled.tools import Tools
from tvm_flow.support.channel import Message
from tvm_flow.support.errors import TuningError
from tvm_flow.tuning.worker.kernel_build import one_line
from tvm_flow.tuning.worker.kernel_run import prepare
from tvm_flow.tuning.worker.problem import Problem, WrongResult

#: Answers by content of the library and workload: the model gives the same one every time, so the
#: closing comparison of a task costs nothing.
_KNOWN: dict[tuple[str, str], Message] = {}

#: Not the candidate's fault for certain: too slow here today, a full disk, no memory.
_PASSING = ("timeout", "run_error")


def handle(request: Message) -> Message:
    """Answer ``prepare``, ``measure`` or ``compare`` as ``tuning.worker.kernel_run`` does, with
    modelled times."""
    try:
        given = prepare(request)
    except Exception as error:  # of the operator family
        return {"status": "run_error", "cause": f"reference: {one_line(error)}"}
    if request["action"] == "prepare":
        return {"status": "ok"}
    answers = [_answer(given, library, request) for library in request["libraries"]]
    if request["action"] == "measure":
        return answers[0]
    failed = next((answer for answer in answers if answer["status"] != "ok"), None)
    results = [{k: v for k, v in answer.items() if k != "status"} for answer in answers]
    return failed or {"status": "ok", "results": results}


def _answer(given: Problem, library: Message, request: Message) -> Message:
    content = hashlib.sha256(Path(library["path"]).read_bytes()).hexdigest()
    key = request["workload"], content
    if key in _KNOWN:
        return _KNOWN[key]
    answer = _evaluate(given, library, request)
    if answer["status"] not in _PASSING:
        _KNOWN[key] = answer
    return answer


def _evaluate(given: Problem, library: Message, request: Message) -> Message:
    model, tools = CoreModel.of_message(request["machine"]), Tools(**request["tools"])
    buffers = given.buffers()
    try:
        with tempfile.TemporaryDirectory(dir=request["cache"]) as folder:
            trace = emulate(
                library["path"], buffers, library["shapes"], model=model, tools=tools,
                folder=Path(folder), timeout_s=request["emulation_timeout_s"],
            )  # fmt: skip
        given.check(buffers, request["tolerance"])
        analyser = _analyser(tools.disassembler, tools.analyser, model.triple, model.core.mca)
        seconds = cost_of(trace, model, analyser).cycles / (1e6 * model.mhz)
    except EmulationFailed as error:
        return {"status": error.status, "cause": str(error)[:300]}
    except WrongResult as error:
        return {"status": "wrong_result", "cause": str(error)[:300]}
    except TuningError as error:
        return {"status": "run_error", "cause": one_line(error)}
    return {"status": "ok", "median_s": seconds, "p10_s": seconds, "p90_s": seconds}


@cache
def _analyser(disassembler: str, simulator: str, triple: str, cpu: str) -> Analyser:
    """Kept between requests: it remembers the code it has simulated."""
    return Analyser(disassembler, simulator, triple, cpu)
