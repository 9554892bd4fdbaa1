"""Requests and answers of workers: there and back over JSON, and refused where they do not fit."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faulty_family
import pytest

from tvm_flow import targets
from tvm_flow.backends.cpu import CPU, cpu_of
from tvm_flow.modelled.cores import CoreModel
from tvm_flow.modelled.protocol import ModelSetup
from tvm_flow.modelled.tools import Tools
from tvm_flow.remote.protocol import (
    BundleAnswer,
    BundleRequest,
    EagerTimes,
    OpenAnswer,
    OpenRequest,
)
from tvm_flow.support.errors import EnvironmentFault, MessageError
from tvm_flow.support.messages import from_message, to_message
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.worker.protocol import (
    Answer,
    BuildAnswer,
    BuildRequest,
    Candidate,
    CompareRequest,
    Comparison,
    KernelRequest,
    MeasureRequest,
    Order,
    Outcome,
    PrepareRequest,
    TrialSettings,
)

BOARD = targets.load("rk3399")
WORK = faulty_family.workload()
KERNEL = KernelRequest.of(WORK, CPU.algorithm(WORK), BOARD, cpu_of(BOARD, 2))
SETTINGS = TrialSettings.of(TuneOptions(cold_bytes=1 << 20), Path("/x"), seed=3)
BUILT = Candidate(Path("/x/y.so"), ((2, 3), (4,), ()))
EVERY = [
    BuildRequest(KERNEL, {"step": 4, "waste": 1}, Path("/x/y.so")),
    BuildAnswer("ok", "", ((2, 3), (4,), ())),
    BuildAnswer("invalid", "no kernel"),
    PrepareRequest(KERNEL, SETTINGS),
    MeasureRequest(KERNEL, SETTINGS, BUILT, math.inf),
    CompareRequest(KERNEL, SETTINGS, (BUILT, BUILT), 21),
    Answer("run_error", "reference: ümläut"),
    Outcome("ok", "", 2e-6, 1e-6, 3e-6, 0.25, 0.1),
    Comparison("ok", "", (Outcome("ok", "", 1.0, 1.0, 1.0), Outcome("ok", "", 2.0, 2.0, 2.0))),
    Order(2.5, to_message(PrepareRequest(KERNEL, SETTINGS))),
    OpenRequest("10.0.0.2", 9090, "rk3399:1", 30.0),
    OpenAnswer("ok", "", {"mhz": [1800, None], "emulated": False}, True, "aarch64", "10.0.0.2:1"),
    BundleRequest(
        Path("/b"), Path("/l.so"), "NHWC", ("x.npy",), ("y.npy", "z.npy"), None, 2, (4, 5), 30,
        600.0,
    ),
    BundleRequest(Path("/b"), Path("/l"), "NCHW", ("x.npy", "w.npy"), (), Path("/m.pt2"), 1, (4,),
                  3, 1.0),
    BundleAnswer("ok", "", 1e-7, (0.1, 0.2), EagerTimes("", (0.3,), "2.13", math.inf),
                 ({"load1": 0.1}, {}), "", 1.01),
    BundleAnswer("refused", "weights.bin is damaged", refusal=7),
    ModelSetup(CoreModel.of(BOARD), Tools("q", "d", "a", "", "dr", "p"), 60.0),
]  # fmt: skip


@pytest.mark.parametrize("value", EVERY, ids=lambda value: type(value).__name__)
def test_there_and_back(value: Any) -> None:
    on_the_way = json.loads(json.dumps(to_message(value)))
    restored = from_message(on_the_way, type(value))
    assert restored == value
    assert type(restored) is type(value)


def test_the_kind_decides_among_several() -> None:
    kinds = (PrepareRequest, MeasureRequest, CompareRequest)
    for value in EVERY[3:6]:
        assert type(from_message(to_message(value), *kinds)) is type(value)
    with pytest.raises(MessageError, match=r"BuildAnswer came where PrepareRequest or Measure"):
        from_message(to_message(BuildAnswer("ok")), *kinds)
    with pytest.raises(MessageError, match="it is no PrepareRequest or"):
        from_message({"status": "ok"}, *kinds)


def test_fields_must_be_those_of_the_class() -> None:
    message = to_message(MeasureRequest(KERNEL, SETTINGS, BUILT, 1.0))
    with pytest.raises(MessageError, match="MeasureRequest has no field rounds"):
        from_message({**message, "rounds": 3}, MeasureRequest)
    for name in ("kernel", "settings", "candidate", "best_s"):
        fewer = {key: value for key, value in message.items() if key != name}
        with pytest.raises(MessageError, match=f"MeasureRequest comes without {name}"):
            from_message(fewer, MeasureRequest)
    # also where the class has a default: a message says everything
    message = to_message(Outcome("ok"))
    del message["disturbed"], message["spent_s"]
    with pytest.raises(MessageError, match="Outcome comes without disturbed, spent_s"):
        from_message(message, Outcome)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("best_s",), "soon", "MeasureRequest.best_s is 'soon' and no float"),
        (("best_s",), True, "MeasureRequest.best_s is True and no float"),
        (("candidate",), None, "MeasureRequest.candidate is None and no Candidate"),
        (("candidate", "shapes"), 3, "MeasureRequest.candidate.shapes is 3 and no tuple"),
        (("candidate", "shapes"), [[1.5]], "MeasureRequest.candidate.shapes is 1.5 and no int"),
        (("candidate", "library"), 7, "MeasureRequest.candidate.library is 7 and no Path"),
        (("kernel", "device", "lanes"), "4", "kernel.device.lanes is '4' and no int"),
        (("kernel", "device", "wings"), 2, "kernel.device has no field wings"),
        (("kernel", "target"), [], "MeasureRequest.kernel.target is .. and no dict"),
    ],
)
def test_values_must_be_of_their_types(place: tuple[str, ...], value: Any, said: str) -> None:
    message = to_message(MeasureRequest(KERNEL, SETTINGS, BUILT, 1.0))
    *outer, last = place
    inner = message
    for name in outer:
        inner = inner[name]
    inner[last] = value
    with pytest.raises(MessageError, match=said) as raised:
        from_message(message, MeasureRequest)
    assert "do not understand each other" in str(raised.value)
    assert "tvm-flow doctor" in raised.value.fix
    assert raised.value.exit_code == EnvironmentFault.exit_code


@dataclass(frozen=True)
class Dated:
    """Its type has no place in a message."""

    when: complex


def test_types_that_json_lacks_are_not_guessed() -> None:
    with pytest.raises(MessageError, match=r"Dated\.when is 3 and no complex"):
        from_message({"kind": "Dated", "when": 3}, Dated)


def test_all_of_a_comparison_fail_if_one_does() -> None:
    outcomes = (Outcome("ok", "", 1.0, 1.0, 1.0), Outcome("ok", "", 2.0, 2.0, 2.0))
    assert Comparison("ok", "", outcomes).of_each(2) == list(outcomes)
    assert Comparison("crashed", "why").of_each(3) == [Outcome("crashed", "why")] * 3
