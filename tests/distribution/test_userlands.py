"""Bundles on the systems that boards have: Debian 11 to 13 for AArch64, and one with musl alone.

Programs, libraries, shells and interpreters are the systems' own; only the CPU is emulated.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundle.arrays import reference, sample
from tests.bundle.networks import write
from tests.bundle.test_pythons import CODE
from tests.distribution.userlands import ARCH, EMULATED, Release, Userland, userlands
from tvm_flow import targets
from tvm_flow.api.runtime_wheel import runtime_wheel
from tvm_flow.toolchain.c_compiler import MUSL, link_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

BOARD = "rk3399"
RELEASES = [
    Release("bullseye", glibc="2.31", python="3.9"),
    Release("bookworm", glibc="2.36", python="3.11"),
    Release("trixie", glibc="2.41", python="3.13"),
]
CLASSIFY = Path(__file__).parents[2] / "examples" / "embedding" / "classify.c"
#: What a user types with NumPy; without it, :data:`CODE`.
WITH_NUMPY = """
import sys, numpy
bundle, given = sys.argv[1:]
sys.path.insert(0, bundle + "/python")
import tvm_flow
network = tvm_flow.load(bundle, threads=2)
x = numpy.fromfile(given, "float32").reshape(network.inputs[0].shape)
result = network(x)
assert isinstance(result, numpy.ndarray), type(result)
assert result.shape == network.outputs[0].shape
network.buffers[0][...] = x
assert (network.run() == result).all()
assert (network(numpy.asfortranarray(x)) == result).all()
try:
    network(x[:, :2])
except tvm_flow.UsageError as error:
    assert "(1, 3, 16, 16)" in str(error), error
else:
    raise AssertionError
print(network.check() <= network.tolerance, *result.tolist()[0])
"""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds every file of these tests."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """C library -> a bundle for it."""
    folder = tmp_path_factory.mktemp("bundles")
    glibc = write(folder / "glibc", BOARD)
    return {"glibc": glibc, MUSL: write(folder / MUSL, BOARD, libc=MUSL)}


@pytest.fixture(scope="session", params=RELEASES, ids=lambda release: release.name)
def release(request: pytest.FixtureRequest) -> Release:
    return request.param


@pytest.fixture(scope="session")
def systems(release: Release) -> Path:
    """For the session: what could not be fetched is not tried again for every test."""
    return userlands(release)


@pytest.fixture(params=["plain", "numpy"])
def system(request: pytest.FixtureRequest, systems: Path, shared: Path) -> Userland:
    return Userland(systems / request.param, shared)


@pytest.fixture
def has_numpy(system: Userland) -> bool:
    return system.root.name == "numpy"


@pytest.fixture
def alpine(systems: Path, shared: Path) -> Userland:
    return Userland(systems / MUSL, shared)


def classes(printed: str) -> list[float]:
    right, *values = printed.split()
    assert right == "True"
    return [float(value) for value in values]


def installs(system: Userland, bundle: Path, prefix: Path) -> None:
    """Twice there, and once from what was installed; and the program by itself."""
    for _ in range(2):
        done = system(bundle / "install.sh", "--prefix", prefix)
        assert "check passed" in done.stdout
        assert done.stderr == ""
    assert sorted(path.name for path in prefix.parent.iterdir()) == [prefix.name]
    assert "check passed" in system(prefix / "install.sh").stdout
    checked = system(prefix / "runner", "--check", "--runs", "2")
    assert "check passed" in checked.stdout
    assert ("EMULATED" in checked.stdout) == EMULATED


def classifies(system: Userland, bundle: Path, libc: str, folder: Path) -> None:
    """The example in C, with the shared library and with the static one."""
    best = int(reference(sample()).argmax())
    for name in ("libtvm_flow.so", "libtvm_flow.a"):
        library = bundle / "lib" / name
        flags = [f"-I{bundle / 'include'}", f"-Wl,-rpath,{library.parent}"]
        made = link_program(
            [CLASSIFY, library], folder / name.replace(".", "_"), arch=ARCH, libc=libc, flags=flags
        )
        assert (b"libtvm_flow.so" in made.read_bytes()) == (library.suffix == ".so")
        (line,) = system(made, bundle, bundle / "sample_input.npy").stdout.splitlines()
        number, _, score = line.split()
        assert int(number) == best
        assert float(score) == pytest.approx(reference(sample()).max(), rel=1e-4)


def test_it_is_the_system_that_was_meant(
    system: Userland, release: Release, has_numpy: bool
) -> None:
    assert system("getconf", "GNU_LIBC_VERSION").stdout == f"glibc {release.glibc}\n"
    assert system("uname", "-m").stdout == f"{ARCH}\n"
    said = system("python3", "--version").stdout
    assert said.startswith(f"Python {release.python}.")
    assert (system.run("python3", "-c", "import numpy").returncode == 0) == has_numpy


def test_the_installer(system: Userland, bundles: dict[str, Path], tmp_path: Path) -> None:
    installs(system, bundles["glibc"], tmp_path / "opt" / "net")


def test_what_is_for_musl_is_refused(system: Userland, bundles: dict[str, Path]) -> None:
    done = system(bundles[MUSL] / "install.sh", code=1)
    assert done.stderr.startswith("error: this system has no musl. Fix: ")
    done = system.run("python3", bundles[MUSL] / "run.py", "--check")
    assert done.returncode not in (0, 1)
    assert "compile it for this system's C library" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_py(system: Userland, bundles: dict[str, Path]) -> None:
    done = system("python3", "-W", "error", bundles["glibc"] / "run.py", "--check", "--runs", "2")
    assert "check passed" in done.stdout
    assert ("EMULATED" in done.stdout) == EMULATED
    assert done.stderr == ""


def test_the_front_end(
    system: Userland, has_numpy: bool, bundles: dict[str, Path], tmp_path: Path
) -> None:
    sample().tofile(tmp_path / "x.bin")
    code = WITH_NUMPY if has_numpy else CODE
    command = ("python3", "-I", "-W", "error", "-c", code, bundles["glibc"], tmp_path / "x.bin")
    assert classes(system(*command).stdout) == pytest.approx(reference(sample())[0], rel=1e-4)


def test_the_wheel(system: Userland, bundles: dict[str, Path], tmp_path: Path) -> None:
    """As pip would unpack it: these systems have none without more packages."""
    wheel = runtime_wheel(BOARD, output=tmp_path)
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, tmp_path / "site"], check=True)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import tvm_flow; "
    code += "print(tvm_flow.__file__, tvm_flow.load(sys.argv[2]).check() < 1e-4)"
    done = system("python3", "-I", "-c", code, tmp_path / "site", bundles["glibc"])
    assert done.stdout.split() == [str(tmp_path / "site" / "tvm_flow" / "__init__.py"), "True"]


def test_a_program_in_c(system: Userland, bundles: dict[str, Path], tmp_path: Path) -> None:
    classifies(system, bundles["glibc"], targets.load(BOARD).glibc_floor, tmp_path)


def test_the_installer_on_musl(alpine: Userland, bundles: dict[str, Path], tmp_path: Path) -> None:
    installs(alpine, bundles[MUSL], tmp_path / "opt" / "net")
    done = alpine(bundles["glibc"] / "install.sh", code=1)
    assert done.stderr.startswith("error: this system has no glibc. Fix: ")


def test_a_program_in_c_on_musl(alpine: Userland, bundles: dict[str, Path], tmp_path: Path) -> None:
    classifies(alpine, bundles[MUSL], MUSL, tmp_path)
