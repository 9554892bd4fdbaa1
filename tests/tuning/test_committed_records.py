"""Every committed tuning record still builds, compiles and computes the right thing.

Records of a CPU class that this machine does not have are skipped, with that reason. The default
suite takes a part of them: each takes about half a second to compile.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tvm

from tvm_flow import targets
from tvm_flow.backends.cpu import cpu_of
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.cpu.lowering import compile_kernel
from tvm_flow.tuning.records.record import Record
from tvm_flow.tuning.records.store import RecordStore

LOGS = Path(__file__).parents[2] / "tuning_logs"
NATIVE = targets.load("native")


def committed() -> list[tuple[str, Record]]:
    found = []
    for log in sorted(LOGS.glob("*/zoo.jsonl")):
        store = RecordStore(log.parent, log.parent.name)
        distinct = {(record.workload, record.threads): record for record in store.records}
        found += [(log.parent.name, record) for record in distinct.values()]
    return found


RECORDS = committed()
#: One in so many is in the default suite, the others are slow tests.
EVERY = 8


def test_the_repository_ships_records() -> None:
    assert RECORDS


@pytest.mark.parametrize(
    ("log", "record"),
    [
        pytest.param(
            log, record, id=f"{log}-{record.workload}-{record.threads}",
            marks=[pytest.mark.slow] if index % EVERY else [],
        )
        for index, (log, record) in enumerate(RECORDS)
    ],
)  # fmt: skip
def test_a_committed_record_is_still_right(log: str, record: Record) -> None:
    workload = Workload.parse(record.workload)
    algorithm, problem = registry.algorithm(workload), workload.problem
    cpu = cpu_of(NATIVE, record.threads)
    if log != NATIVE.log_name:
        pytest.skip(f"records of {log}; this machine is {NATIVE.log_name}")
    space = algorithm.space(problem, cpu)
    assert all(value in space[name] for name, value in record.knobs.items())
    executable = compile_kernel(
        algorithm.build(problem, cpu, record.knobs, "kernel"), NATIVE.tvm_target()
    )
    rng = np.random.default_rng(0)
    specs = algorithm.arguments(problem, cpu)
    inputs = [
        rng.standard_normal(spec.shape).astype(np.float32) for spec in specs if spec.role == "input"
    ]
    weights = {
        name: (rng.standard_normal(shape) / max(1, np.prod(shape[1:])) ** 0.5).astype(np.float32)
        for name, shape in algorithm.operator.weight_shapes(problem).items()
    }
    expected = algorithm.operator.reference(problem, inputs, weights)
    outputs = [tvm.runtime.tensor(np.full(e.shape, np.nan, np.float32)) for e in expected]
    packed = algorithm.pack(problem, cpu, weights)
    executable["kernel"](*[tvm.runtime.tensor(a) for a in (*inputs, *packed)], *outputs)
    for got, want in zip(outputs, expected, strict=True):
        assert np.abs(got.numpy() - want).max() <= 1e-4 * np.abs(want).max()
