"""Is this installation fit to compile, link, tune and measure?

:func:`diagnose` returns findings and prints nothing. Whatever could crash in native code (a wrong
``apache-tvm-ffi`` segfaults, it does not raise) runs in a process of its own, so that a crash
becomes a sentence. This module imports neither TVM nor torch: it must work where they do not.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tvm_flow import targets
from tvm_flow.api.requirements import install_command, requirements, shown
from tvm_flow.support.child import child_environment
from tvm_flow.support.collector import collect_seldom
from tvm_flow.support.errors import EnvironmentFault, TvmFlowError
from tvm_flow.support.resources import checkout, package_file
from tvm_flow.support.system_packages import COMMAND, lacking
from tvm_flow.support.without_torch import without_torch
from tvm_flow.toolchain.linker import find_linker, has_zig, zig

#: The oldest and the newest Python that tvm-flow is tried with.
PYTHONS = ((3, 11), (3, 13))
PROBE_TIMEOUT_S = 180
ARCHITECTURES = ("x86_64", "aarch64")
MIN_FREE_GIB = 1.0
BUSY_CORES = 0.5  # a load above this disturbs timings


@dataclass(frozen=True)
class Check:
    """One finding. ``fix`` is a command or an edit, empty where ``ok``. A ``warning`` that is not
    ok leaves the installation usable, but its timings doubtful or boards without a stand-in."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    warning: bool = False


def diagnose(tuning_logs: Path = Path("tuning_logs")) -> list[Check]:
    """Every check, about ten seconds in all. Raises nothing for a broken installation.

    ``tuning_logs``: the folder tuning is going to write its records to.
    """
    groups: list[Callable[[], list[Check]]] = [
        lambda: [load_average()],  # first: the probes below are load themselves
        lambda: [python_version()],
        packages,
        lambda: [abi()],
        code_generation,
        lambda: [cpp_compiler()],
        system_packages,
        lambda: [cores()],
        lambda: [governor()],
        lambda: [committed_records()],
        lambda: [tuning_folder(tuning_logs)],
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        return [check for group in pool.map(lambda run: run(), groups) for check in group]


def python_version() -> Check:
    """An older Python cannot run tvm-flow; with a newer one nobody has tried."""
    oldest, newest = (".".join(map(str, version)) for version in PYTHONS)
    too_old, too_new = sys.version_info[:2] < PYTHONS[0], sys.version_info[:2] > PYTHONS[1]
    fix = ""
    if too_old or too_new:
        fix = f"install tvm-flow into an environment of Python {oldest} to {newest}"
        if checkout() is not None:
            fix = f"make clean && make venv PYTHON=python{newest}"
    detail = f"{platform.python_version()}, wanted {oldest} to {newest}"
    return Check("python", not (too_old or too_new), detail, fix, warning=not too_old)


def packages() -> list[Check]:
    """The installed version of each requirement; a local suffix such as ``+cpu`` is the same."""
    try:
        wanted = requirements()
    except ImportError:
        return [Check("packaging", False, "not installed", install_command("packaging"))]
    checks = []
    for name, specifier in wanted.items():
        try:
            installed = metadata.version(name)
            ok = specifier.contains(installed, prereleases=True)
        except metadata.PackageNotFoundError:
            installed, ok = "not installed", False
        detail = f"{installed}, wanted {shown(specifier)}"
        checks.append(Check(name, ok, detail, "" if ok else install_command(name)))
    return checks


def abi() -> Check:
    """TVM and its FFI library belong together: compile, run and serialise, in another process."""
    ok, said = run_isolated("from tvm_flow.api.doctor import probe_abi; probe_abi()")
    detail = "compiles, runs and serialises" if ok else f"TVM does not work: it {said}"
    return Check(
        "tvm abi", ok, detail, "" if ok else install_command("apache-tvm", "apache-tvm-ffi")
    )


def code_generation() -> list[Check]:
    """LLVM generates code for each architecture, and a linker makes a library of it."""
    checks = []
    with tempfile.TemporaryDirectory(prefix="tvm-flow-doctor-") as folder:
        for arch in ARCHITECTURES:
            made = Path(folder) / f"{arch}.o"
            ok, said = run_isolated(
                "from tvm_flow.api.doctor import probe_object; "
                f"probe_object({arch!r}, {str(made)!r})"
            )
            fix = "" if ok else install_command("apache-tvm")
            detail = "compiles" if ok else f"TVM's LLVM {said}"
            checks += [Check(f"llvm {arch}", ok, detail, fix), linker(arch, made)]
    return checks


def linker(arch: str, made: Path) -> Check:
    """Links the object ``made`` for ``arch``."""
    name = f"linker {arch}"
    try:
        found = find_linker(arch)
        if not made.is_file():
            return Check(name, False, "not tried: there is no object to link", f"see llvm {arch}")
        found.link_shared([made], made.with_suffix(".so"))
    except TvmFlowError as error:
        detail = error.what + (f": {error.why}" if error.why else "")
        return Check(name, False, detail, install_command("ziglang"))
    return Check(name, True, "links with " + " ".join(found.command))


def cpp_compiler() -> Check:
    """zig's clang starts. It builds the runtime of bundles and the server of boards."""
    name, fix = "c++ compiler", install_command("ziglang")
    if not has_zig():
        return Check(name, False, "the package ziglang is not installed", fix)
    ok, said = _run([zig(), "c++", "--version"])
    return Check(name, ok, said.partition("\n")[0] if ok else f"zig {said}", "" if ok else fix)


def system_packages() -> list[Check]:
    """What emulated and modelled boards need of the system; nothing else does."""
    checks = []
    for name, use in (("emulated boards", "emulate"), ("modelled boards", "model")):
        missing = " ".join(lacking(use))
        detail = f"not installed: {missing}" if missing else "everything is installed"
        fix = f"sudo apt-get install {missing} (in a checkout: {COMMAND})" if missing else ""
        checks.append(Check(name, not missing, detail, fix, warning=True))
    return checks


def cores() -> Check:
    """Whether this process may use all cores of the machine."""
    name, usable, total = "cores", len(os.sched_getaffinity(0)), os.cpu_count() or 1
    try:
        board = targets.load("native")
    except targets.TargetFileError as error:
        return Check(name, False, f"{error.what}: {error.why}", error.fix)
    ok = usable == total
    detail = f"{usable} of {total} CPUs usable; {board.threads} threads; {board.log_name}"
    fix = "" if ok else f"widen the affinity if that was not meant: taskset -c 0-{total - 1} …"
    return Check(name, ok, detail, fix, warning=True)


def governor(root: Path = Path("/")) -> Check:
    """The frequency governor; anything but ``performance`` changes clocks while measuring."""
    files = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    found = sorted({path.read_text(encoding="ascii").strip() for path in files})
    if not found:
        return Check("governor", True, "no cpufreq here: the clock is not ours to set")
    ok = found == ["performance"]
    fix = "" if ok else "sudo cpupower frequency-set -g performance"
    return Check("governor", ok, ", ".join(found), fix, warning=True)


def load_average() -> Check:
    """Other programs on the cores make timings worthless."""
    load = os.getloadavg()[0]
    ok = load < BUSY_CORES
    fix = "" if ok else "stop the other programs before tuning or measuring: see top"
    return Check("load", ok, f"{load:.1f} cores busy in the last minute", fix, warning=True)


def committed_records() -> Check:
    """The records that come with tvm-flow, in the checkout or in the installed package."""
    name = "committed records"
    try:
        folder = package_file("tuning_logs").resolve()
    except EnvironmentFault as error:
        return Check(name, False, error.what, error.fix)
    boards = len(list(folder.glob("*/*.jsonl")))
    fix = "" if boards else "install tvm-flow again: it comes with records"
    return Check(name, boards > 0, f"{boards} boards in {folder}", fix)


def tuning_folder(folder: Path) -> Check:
    """Records can be written: permission by trying, and space."""
    name, existing = "tuning_logs", folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".doctor-"):
            free = shutil.disk_usage(existing).free / 2**30
    except OSError as error:
        detail = f"cannot write to {existing}: {error.strerror}"
        return Check(name, False, detail, f"chmod u+w {existing}, or name another folder")
    ok = free >= MIN_FREE_GIB
    fix = "" if ok else f"free {MIN_FREE_GIB:.0f} GiB, or name another folder"
    return Check(name, ok, f"{folder} is writable, {free:.1f} GiB free", fix)


# -- processes of their own ---------------------------------------------------------------------


def run_isolated(code: str) -> tuple[bool, str]:
    """Python ``code`` in a new process: (True, its output), or (False, how it ended, a verb first).

    A crash, an exception and a hang are all sentences; none of them reaches this process.
    """
    return _run([sys.executable, "-c", code])


def probe_abi() -> None:
    """Runs in its own process: what a wrong ``apache-tvm-ffi`` crashes in. With PyTorch beside TVM,
    as a compilation has them."""
    collect_seldom()
    import numpy as np  # noqa: PLC0415 - only in the probe's process
    import tvm  # noqa: PLC0415

    module = _add_one()
    compiled = tvm.compile(module, target=tvm.target.Target({"kind": "llvm"}))
    inputs = np.arange(16, dtype="float32")
    output = tvm.runtime.tensor(np.zeros(16, "float32"))
    compiled["add_one"](tvm.runtime.tensor(inputs), output)
    np.testing.assert_array_equal(output.numpy(), inputs + 1)
    tvm.ir.assert_structural_equal(tvm.ir.load_json(tvm.ir.save_json(module)), module)


def probe_object(arch: str, path: str) -> None:
    """Runs in its own process: an object file for ``arch``, generated by TVM's LLVM."""
    collect_seldom()
    with without_torch():  # it has no use here
        import tvm  # noqa: PLC0415 - only in the probe's process
        from tvm.target.codegen import llvm_get_targets  # noqa: PLC0415 - imports TVM

    if arch not in [str(name) for name in llvm_get_targets()]:
        raise RuntimeError(f"has no backend for {arch}")
    target = tvm.target.Target({"kind": "llvm", "mtriple": f"{arch}-linux-gnu"})
    tvm.compile(_add_one(), target=target).mod.write_to_file(path)


def _add_one():  # type: ignore[no-untyped-def]  # tvm.IRModule, which must not be imported here
    """A module with ``add_one(input, output)`` on 16 floats."""
    import tvm  # noqa: PLC0415 - only in the probe's process
    from tvm import te  # noqa: PLC0415

    data = te.placeholder((16,), name="data")
    result = te.compute((16,), lambda i: data[i] + 1.0, name="result")
    func = te.create_prim_func([data, result]).with_attr("global_symbol", "add_one")
    return tvm.IRModule({"add_one": func})


def _run(command: list[str]) -> tuple[bool, str]:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"did not answer within {PROBE_TIMEOUT_S} s"
    except OSError as error:
        return False, f"could not be started: {error.strerror}"
    if done.returncode < 0:
        return False, f"crashed with {signal.Signals(-done.returncode).name}"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return False, f"failed: {lines[-1].strip()}"
    return True, done.stdout.strip()
