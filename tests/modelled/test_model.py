"""The model on small kernels: what it counts is exact, what it says is bounded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tvm_flow import targets
from tvm_flow.backends.cpu import cpu_of
from tvm_flow.modelled import mca
from tvm_flow.modelled import tools as modelled_tools
from tvm_flow.modelled.bench import ModelledBench
from tvm_flow.modelled.cores import CORES, CoreModel
from tvm_flow.modelled.emulate import emulate
from tvm_flow.modelled.mca import Analyser, kernel_cycles
from tvm_flow.modelled.model import cost_of
from tvm_flow.modelled.tools import find_tools
from tvm_flow.modelled.trace import Trace, read_trace
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.operators import conv2d, depthwise
from tvm_flow.support.errors import EnvironmentFault, TuningError, UsageError
from tvm_flow.support.messages import from_message, to_message
from tvm_flow.targets import Board
from tvm_flow.tuning.worker import kernel_build
from tvm_flow.tuning.worker.protocol import BuildRequest, KernelRequest
from tvm_flow.tuning.worker.trial_data import trial_data

pytestmark = pytest.mark.timeout(60)
A72 = targets.load("rk3399")
POINTWISE = conv2d.problem(n=1, h=14, w=14, ci=32, co=64, act="relu")
DEPTHWISE = depthwise.problem(n=1, h=14, w=14, c=32)


def analyser(board: Board) -> Analyser:
    found, model = find_tools(board.arch), CoreModel.of(board)
    return Analyser(found.disassembler, found.analyser, model.triple, model.core.mca)


def traced(problem: Problem, folder: Path, knobs: Knobs | None = None) -> Trace:
    """One call of a kernel for the A72, its result checked."""
    workload = Workload(problem, "direct")
    cpu, algorithm = cpu_of(A72), registry.algorithm(workload)
    library = str(folder / "kernel.so")
    knobs = knobs or algorithm.default(problem, cpu)
    kernel = KernelRequest.of(workload, algorithm, A72, cpu)
    answer = kernel_build.build(BuildRequest(kernel, knobs, Path(library)))
    assert answer.status == "ok", answer
    given = trial_data(
        workload.key, cpu, algorithm_module=kernel.algorithm_module, seed=0,
        cache=str(folder),
    )  # fmt: skip
    buffers = given.buffers()
    trace = emulate(library, buffers, answer.shapes, model=CoreModel.of(A72),
                    tools=find_tools("aarch64"), folder=folder, timeout_s=30)  # fmt: skip
    given.check(buffers, 1e-4)
    return trace


def executed(trace: Trace, mnemonic: str) -> int:
    """How many instructions of a kind were executed."""
    codes = sorted({code for chunk in trace.chunks.values() for code in chunk})
    lines = dict(zip(codes, analyser(A72).disassemble(codes), strict=True))
    per_chunk = {
        number: sum(lines[code].split()[0] == mnemonic for code in chunk)
        for number, chunk in trace.chunks.items()
    }
    return sum(
        segment.count * sum(per_chunk[chunk] * times for chunk, times in segment.runs)
        for segment in trace.segments
    )


@pytest.mark.system("model")
@pytest.mark.parametrize("problem", [POINTWISE, DEPTHWISE], ids=lambda p: p.op)
def test_every_multiplication_is_counted(problem: Problem, tmp_path: Path) -> None:
    """Four lanes each; at the border, depthwise leaves out taps that fall outside."""
    macs, found = (
        registry.operator(problem.op).macs(problem),
        4 * executed(traced(problem, tmp_path), "fmla"),
    )
    if problem is POINTWISE:
        assert found == macs
    else:
        assert found == (14 * 3 - 2) ** 2 * 32 < macs


@pytest.mark.system("model")
def test_cycles_are_near_the_bound_of_the_core(tmp_path: Path) -> None:
    """One FMLA of four lanes a cycle; a good kernel takes little more."""
    trace = traced(POINTWISE, tmp_path)
    bound = conv2d.CONV2D.macs(POINTWISE) / 4
    cost = cost_of(trace, CoreModel.of(A72), analyser(A72))
    assert bound <= cost.compute < 1.5 * bound
    assert cost.cycles >= cost.compute
    assert cost.instructions > bound


@pytest.mark.system("model")
def test_a_small_tile_is_slower(tmp_path: Path) -> None:
    """One sum at a time waits for itself."""
    default = registry.algorithm(Workload(POINTWISE, "direct")).default(POINTWISE, cpu_of(A72))
    one = {**default, "mt": 1, "nv": 1}
    slow = kernel_cycles(traced(POINTWISE, tmp_path, one), analyser(A72))
    assert slow > 1.5 * kernel_cycles(traced(POINTWISE, tmp_path), analyser(A72))


@pytest.mark.system("model")
def test_caches_of_the_board_count(tmp_path: Path) -> None:
    trace = traced(POINTWISE, tmp_path)
    assert trace.l1.random + trace.l1.streamed < 3 * trace.lines
    assert trace.l2.random + trace.l2.streamed < 20  # everything fits into 512 KiB
    assert trace.lines * 64 > 4 * (14 * 14 * (32 + 64) + 32 * 64)


@pytest.mark.system("model")
def test_vectors_across_two_lines_are_counted(tmp_path: Path) -> None:
    """58 channels are 232 bytes: one vector in eight starts 8 bytes before the end of a line."""
    apart, across = (traced(depthwise.problem(n=1, h=14, w=14, c=c), tmp_path) for c in (32, 58))
    assert apart.splits < 0.01 * apart.accesses
    assert across.splits > 0.02 * across.accesses
    costs = [cost_of(trace, CoreModel.of(A72), analyser(A72)) for trace in (apart, across)]
    assert [cost.splits for cost in costs] == [apart.splits, across.splits]


@pytest.mark.system("model")
def test_the_core_in_order_pays_for_latency() -> None:
    """A chain of dependent sums and the same number of independent ones."""
    chain = ["fmla v0.4s, v1.4s, v2.s[0]"] * 8
    apart = [f"fmla v{n}.4s, v30.4s, v31.s[0]" for n in range(8)]
    for target in ("rk3399", "rk3399-little"):
        dependent, independent = analyser(targets.load(target)).cycles([chain, apart])
        assert dependent > 1.9 * independent


def test_every_board_has_a_model() -> None:
    for name in targets.names():
        board = targets.load(name)
        if board.arch == "aarch64":
            assert CoreModel.of(board).core in CORES.values()


def test_machine_survives_a_message() -> None:
    assert from_message(to_message(CoreModel.of(A72)), CoreModel) == CoreModel.of(A72)


def test_a_trace_without_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trace.txt").write_text("accesses 0 lines 0 l1 0 0 l2 0 0 splits 0\n")
    with pytest.raises(ValueError, match="recorded nothing"):
        read_trace(tmp_path / "trace.txt")


@pytest.mark.system("model")
def test_what_llvm_does_not_know_counts_as_nothing() -> None:
    x86 = replace(analyser(A72), triple="x86_64-linux-gnu", cpu="znver4", known={})
    codes = [*["90"] * 20, "f048010580e91300", "c5fc1185"]  # nop, lock add, the half of a vmovups
    found = x86.disassemble(codes)
    assert len(found) == len(codes)
    assert found[-1] == "nop"
    assert found[-2].startswith("addq")


@pytest.mark.system("model")
def test_atomic_instructions_are_left_out() -> None:
    orin = analyser(targets.load("jetson-orin"))
    lines = orin.disassemble(["4100e0b8", "41ac40a9"])  # ldaddal w0, w1, [x2]; ldp x1, x11, [x2]
    assert lines[0] == "nop"
    assert lines[1].startswith("ldp")
    assert orin.cycles([lines])[0] > 0


@pytest.mark.system("model")
@pytest.mark.parametrize(
    ("hidden", "package"),
    [("qemu", "qemu-user"), ("llvm", "llvm-19"), ("libc", "libc6-arm64-cross")],
)
def test_a_missing_package_is_named(
    hidden: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("qemu-aarch64", "llvm-mc-19", "llvm-mca-19"):
        if hidden not in program and not (hidden == "llvm" and program.startswith("llvm")):
            found = modelled_tools.shutil.which(program)
            assert found is not None
            (tmp_path / program).symlink_to(found)
    if hidden == "libc":
        monkeypatch.setattr(modelled_tools, "_SYSROOTS", {"aarch64": tmp_path})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match=f"apt-get install {package}"):
        find_tools("aarch64")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("zig_version", lambda: "0.0.1"),
        ("_GLIBC", "2.31"),
        ("_DRIVER_FLAGS", ("-rdynamic", "-DCHANGED")),
        ("_PLUGIN_FLAGS", ("-shared", "-fPIC", "-DCHANGED")),
    ],
)
def test_helpers_are_built_again_for_another_compiler_or_flags(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: object
) -> None:
    """Which of the two is built again: those, and only those, that the change concerns."""
    built: list[str] = []

    def build(sources: list[Path], output: Path, **_: object) -> None:
        built.append(sources[0].stem)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(modelled_tools, "build_cpp", build)
    for _ in range(2):
        modelled_tools.build_helpers("aarch64")
    assert built == ["driver", "plugin"]
    monkeypatch.setattr(modelled_tools, name, value)
    modelled_tools.build_helpers("aarch64")
    concerned = {"_DRIVER_FLAGS": ["driver"], "_PLUGIN_FLAGS": ["plugin"]}
    assert built[2:] == concerned.get(name, ["driver", "plugin"])


def test_what_is_not_modelled_is_refused() -> None:
    with pytest.raises(UsageError, match="2 threads are not modelled"):
        ModelledBench().plan(A72, 2)
    with pytest.raises(UsageError, match="AArch64"):
        ModelledBench().plan(replace(A72, arch="x86_64"), 1)
    other = replace(A72.clusters[1], mcpu="cortex-a999")
    with pytest.raises(UsageError, match="No model of rk3399's core"):
        ModelledBench().plan(replace(A72, clusters=(A72.clusters[0], other)), 1)


def test_a_record_cut_short(tmp_path: Path) -> None:
    """As a full disk leaves it."""
    for text in ("", "accesses 1 2\n", "accesses 1\nchunk 0 b0\nsegment 1 0*1\n"):
        (tmp_path / "trace.txt").write_text(text)
        with pytest.raises(ValueError, match=r"recorded nothing|cut short"):
            read_trace(tmp_path / "trace.txt")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("exec sleep 30", "no answer within 0.2 s"),
        ("echo '{}'", "KeyError"),
        ("echo", "ValueError"),
    ],
)
def test_an_analyser_that_fails(
    program: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "llvm-mca"
    tool.write_text(f"#!/bin/sh\n{program}\n")
    tool.chmod(0o755)
    if "sleep" in program:
        monkeypatch.setattr(mca, "_TIMEOUT_S", 0.2)
    with pytest.raises(TuningError, match=why):
        Analyser("", str(tool), "aarch64", "cortex-a72").cycles([["nop"]])
