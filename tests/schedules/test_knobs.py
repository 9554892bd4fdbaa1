"""Every knob setting a tuner may choose gives the same result, on one thread or two."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.schedules import lab, torch_reference
from tests.schedules.cases import CASES
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.base import InvalidKnobs, Knobs, Workload

OPERATORS = sorted(CASES)
EVERY_CASE = [workload for workloads in CASES.values() for workload in workloads]


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_default_is_in_the_space_and_builds(workload: Workload) -> None:
    family = registry.lookup(workload.op)
    for machine in lab.MACHINES.values():
        default, space = family.default(workload, machine.cpu), family.space(workload, machine.cpu)
        assert default.keys() == space.keys()
        assert all(default[knob] in choices for knob, choices in space.items())
        assert all(len(set(choices)) == len(choices) for choices in space.values())
        lab.Job.make(workload, machine.cpu).build("kernel")


def settings(
    workload: Workload, machine: lab.Machine, count: int, rng: random.Random
) -> list[lab.Job]:
    """``count`` random valid settings as jobs."""
    family = registry.lookup(workload.op)
    space = family.space(workload, machine.cpu)
    jobs: list[lab.Job] = []
    for _ in range(200):
        if len(jobs) == count:
            return jobs
        knobs: Knobs = {name: rng.choice(choices) for name, choices in space.items()}
        job = lab.Job.make(workload, machine.cpu, knobs)
        try:
            job.build("kernel")
        except InvalidKnobs:
            continue
        jobs.append(job)
    raise AssertionError(f"hardly any setting of {workload} is valid on {machine.name}")


def random_jobs(op: str, machine: lab.Machine, count: int, seed: int) -> list[lab.Job]:
    """``count`` settings, each of a random case of ``op``."""
    rng = random.Random(f"{op} {machine.name} {seed}")
    workloads = [rng.choice(CASES[op]) for _ in range(count)]
    return [job for workload in workloads for job in settings(workload, machine, 1, rng)]


def check(machine: lab.Machine, jobs: list[lab.Job], opt_level: int) -> None:
    for job, kernel in lab.compile_jobs(jobs, machine.target(opt_level)).items():
        inputs = lab.random_inputs(job.workload, machine.cpu)
        weights = lab.plain_weights(job.workload)
        (y,) = lab.run(job, kernel, inputs, weights)
        expected = torch_reference.compute(job.workload, inputs, weights)
        error = lab.max_rel_error(y, expected)
        assert error <= lab.TOLERANCE, f"{error:.1e} with {dict(job.knobs)} for {job.workload}"


def needs(name: str) -> lab.Machine:
    machine = lab.MACHINES[name]
    if not machine.runs_here:
        pytest.skip(f"needs {machine.flag}")
    return machine


@pytest.mark.parametrize("name", lab.MACHINES)
@pytest.mark.parametrize("op", OPERATORS)
def test_random_knobs(op: str, name: str) -> None:
    machine = needs(name)
    check(machine, random_jobs(op, machine, 3, seed=0), opt_level=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", lab.MACHINES)
@pytest.mark.parametrize("op", OPERATORS)
def test_many_random_knobs_with_full_optimisation(op: str, name: str) -> None:
    machine = needs(name)
    check(machine, random_jobs(op, machine, 25, seed=1), opt_level=3)


@pytest.mark.parametrize("op", OPERATORS)
def test_two_threads_compute_what_one_does(op: str) -> None:
    machine, rng = needs("lanes8"), random.Random(op)
    one = machine.cpu
    two = type(one)(one.lanes, one.registers, one.l1_bytes, one.l2_bytes, threads=2)
    largest = sorted(CASES[op], key=lambda w: registry.lookup(op).bytes_moved(w, one))[-6:]
    pairs = []
    for workload in rng.sample(largest, 2):
        knobs = registry.lookup(op).default(workload, two)
        # share the products of a tile, not only its rows, where that is a choice
        knobs |= {name: n for name, n in (("split", 1), ("nb", 4)) if name in knobs}
        pairs.append((lab.Job.make(workload, one, knobs), lab.Job.make(workload, two, knobs)))
    kernels = lab.compile_jobs([job for pair in pairs for job in pair], machine.target(0))
    for serial, shared in pairs:
        inputs = lab.random_inputs(serial.workload, one)
        weights = lab.plain_weights(serial.workload)
        (expected,) = lab.run(serial, kernels[serial], inputs, weights)
        for _ in range(5):
            (y,) = lab.run(shared, kernels[shared], inputs, weights)
            assert np.array_equal(y, expected)
