"""Every knob setting a tuner may choose gives the same result, on one thread or two."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.schedules import lab, torch_reference
from tests.schedules.cases import CASES
from tvm_flow.schedules import cpu, registry
from tvm_flow.schedules.contract.algorithm import InvalidKnobs, Knobs
from tvm_flow.schedules.contract.problem import Workload

GENERATORS = sorted(CASES)
EVERY_CASE = [workload for workloads in CASES.values() for workload in workloads]


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_default_is_in_the_space_and_builds(workload: Workload) -> None:
    algorithm, problem = registry.algorithm(workload), workload.problem
    for isa in lab.ISA_LEVELS.values():
        default = algorithm.default(problem, isa.cpu)
        space = algorithm.space(problem, isa.cpu)
        assert default.keys() == space.keys()
        assert all(default[knob] in choices for knob, choices in space.items())
        assert all(len(set(choices)) == len(choices) for choices in space.values())
        lab.Job.make(workload, isa.cpu).build("kernel")


def settings(
    workload: Workload, isa: lab.IsaLevel, count: int, rng: random.Random
) -> list[lab.Job]:
    """``count`` random valid settings as jobs."""
    space = registry.algorithm(workload).space(workload.problem, isa.cpu)
    jobs: list[lab.Job] = []
    for _ in range(200):
        if len(jobs) == count:
            return jobs
        knobs: Knobs = {name: rng.choice(choices) for name, choices in space.items()}
        job = lab.Job.make(workload, isa.cpu, knobs)
        try:
            job.build("kernel")
        except InvalidKnobs:
            continue
        jobs.append(job)
    raise AssertionError(f"hardly any setting of {workload} is valid on {isa.name}")


def random_jobs(generator: str, isa: lab.IsaLevel, count: int, seed: int) -> list[lab.Job]:
    """``count`` settings, each of a random case of ``generator``."""
    rng = random.Random(f"{generator} {isa.name} {seed}")
    workloads = [rng.choice(CASES[generator]) for _ in range(count)]
    return [job for workload in workloads for job in settings(workload, isa, 1, rng)]


def check(isa: lab.IsaLevel, jobs: list[lab.Job], opt_level: int) -> None:
    for job, kernel in lab.compile_jobs(jobs, isa.target(opt_level)).items():
        inputs = lab.random_inputs(job.workload, isa.cpu)
        weights = lab.plain_weights(job.workload)
        (y,) = lab.run(job, kernel, inputs, weights)
        expected = torch_reference.compute(job.workload, inputs, weights)
        error = lab.max_rel_error(y, expected)
        assert error <= lab.TOLERANCE, f"{error:.1e} with {dict(job.knobs)} for {job.workload}"


def needs(name: str) -> lab.IsaLevel:
    isa = lab.ISA_LEVELS[name]
    if not isa.runs_here:
        pytest.skip(f"needs {isa.flag}")
    return isa


@pytest.mark.parametrize("name", lab.ISA_LEVELS)
@pytest.mark.parametrize("generator", GENERATORS)
def test_random_knobs(generator: str, name: str) -> None:
    isa = needs(name)
    check(isa, random_jobs(generator, isa, 3, seed=0), opt_level=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", lab.ISA_LEVELS)
@pytest.mark.parametrize("generator", GENERATORS)
def test_many_random_knobs_with_full_optimisation(generator: str, name: str) -> None:
    isa = needs(name)
    check(isa, random_jobs(generator, isa, 25, seed=1), opt_level=3)


@pytest.mark.parametrize("generator", GENERATORS)
def test_two_threads_compute_what_one_does(generator: str) -> None:
    isa, rng = needs("lanes8"), random.Random(generator)
    one = isa.cpu
    two = type(one)(one.lanes, one.registers, one.l1_bytes, one.l2_bytes, threads=2)

    def size(workload: Workload) -> int:
        return registry.algorithm(workload).bytes_moved(workload.problem, one)

    largest = sorted(CASES[generator], key=size)[-6:]
    pairs = []
    for workload in rng.sample(largest, 2):
        knobs = registry.algorithm(workload).default(workload.problem, two)
        # share the products of a tile, not only its rows, where that is a choice
        knobs |= {name: n for name, n in (("split", 1), ("nb", 4)) if name in knobs}
        pairs.append((lab.Job.make(workload, one, knobs), lab.Job.make(workload, two, knobs)))
    kernels = lab.compile_jobs([job for pair in pairs for job in pair], isa.target(0))
    for serial, shared in pairs:
        inputs = lab.random_inputs(serial.workload, one)
        weights = lab.plain_weights(serial.workload)
        (expected,) = lab.run(serial, kernels[serial], inputs, weights)
        for _ in range(5):
            (y,) = lab.run(shared, kernels[shared], inputs, weights)
            assert np.array_equal(y, expected)


GLOSSARY = Path(cpu.__file__).parents[1] / "KNOBS.md"


def explained() -> dict[str, str]:
    """What the glossary says of each knob, by its name."""
    rows = [line for line in GLOSSARY.read_text().splitlines() if line.startswith("| `")]
    return {name: row for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_every_knob_is_in_the_glossary_and_no_other() -> None:
    used = {
        name
        for workload in EVERY_CASE
        for isa in lab.ISA_LEVELS.values()
        for threads in (1, 2)
        for name in registry.algorithm(workload).space(
            workload.problem, replace(isa.cpu, threads=threads)
        )
    }
    assert used == explained().keys()
    assert all(len(row.split("|")) == 6 and "| |" not in row for row in explained().values())
