"""The board kit: what is in it, and that its installer makes a server that works."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.boards.farm import Tracker, open_session
from tvm_flow import targets
from tvm_flow.boards.kit import Kit, write_kit
from tvm_flow.boards.libraries import runtime_libraries
from tvm_flow.boards.process import BoardProcess
from tvm_flow.support.elf_header import NotElf
from tvm_flow.support.errors import EnvironmentFault, UsageError
from tvm_flow.toolchain.elf import elf_arch, needed_glibc, needed_versions, version_key

pytestmark = pytest.mark.timeout(600)  # a machine's first C++ build also builds libc++

FILES = {"board_server", "lib/libtvm_runtime.so", "lib/libtvm_ffi.so", "install.sh", "README.md",
         "tvm-flow-board.service"}  # fmt: skip


@pytest.fixture(scope="module")
def native_kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return write_kit(targets.load("native"), tmp_path_factory.mktemp("kit") / "native")


@pytest.fixture(scope="module")
def arm_kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return write_kit(targets.load("rk3399"), tmp_path_factory.mktemp("kit") / "arm", key="shelf-3")


def install(
    kit: Kit, *arguments: str, tracker: str | None = "127.0.0.1:9"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", kit.path / "install.sh", "--no-service", *arguments], capture_output=True, text=True,
        timeout=30, check=False,
        env={"PATH": "/usr/bin:/bin", **({"TRACKER": tracker} if tracker else {})},
    )  # fmt: skip


def test_an_arm_kit_is_complete(arm_kit: Kit) -> None:
    described = json.loads((arm_kit.path / "kit.json").read_text())
    assert set(described["files"]) == FILES
    assert (described["key"], described["cores"], described["threads"]) == ("shelf-3", [4, 5], 2)
    for name in ("board_server", "lib/libtvm_runtime.so", "lib/libtvm_ffi.so"):
        assert elf_arch(arm_kit.path / name) == "aarch64"
        needed = needed_glibc(arm_kit.path / name)
        assert needed is not None
        assert version_key(needed) <= version_key(arm_kit.glibc)
    # the oldest system of a supported board
    assert version_key(arm_kit.glibc) <= (2, 27)
    assert arm_kit.notes == ()
    assert arm_kit.size < 10e6


def test_the_service_starts_this_board(arm_kit: Kit) -> None:
    unit = (arm_kit.path / "tvm-flow-board.service").read_text()
    (command,) = (line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert "--key shelf-3 --port 9090 --cores 4,5 --threads 2" in command
    assert "Restart=always" in unit
    for name in ("tvm-flow-board.service", "install.sh", "README.md"):
        assert "@" not in (arm_kit.path / name).read_text().replace("$@", "")


def test_the_installed_server_works(
    native_kit: Kit, running_tracker: Tracker, tmp_path: Path
) -> None:
    """Installed twice, started by the command that the installer prints."""
    prefix = tmp_path / "opt"
    for _ in range(2):
        done = install(native_kit, "--prefix", str(prefix), tracker=running_tracker.address)
        assert done.returncode == 0, done.stderr
    assert "listen on 127.0.0.1 only" in done.stdout
    words = done.stdout.splitlines()[-1].split()
    words[words.index("--port") + 1] = "0"
    with BoardProcess([*words, "--until-eof"]):
        open_session(running_tracker, "native").close()
    assert not list(prefix.rglob("*.new"))


def test_listening_for_others_is_warned_about(native_kit: Kit, tmp_path: Path) -> None:
    done = install(native_kit, "--prefix", str(tmp_path), "--listen", "192.168.1.20")
    assert done.returncode == 0
    assert "WARNING: whoever reaches 192.168.1.20" in done.stdout
    assert (tmp_path / "board.conf").read_text() == "TRACKER=127.0.0.1:9\nLISTEN=192.168.1.20\n"


def test_ipv6_addresses(native_kit: Kit, tmp_path: Path) -> None:
    where = ("--prefix", str(tmp_path), "--no-service")
    done = install(native_kit, "--listen", "::1", *where, tracker="[fd00::1]:9190")
    assert done.returncode == 0, done.stderr
    assert "will listen on ::1 only" in done.stdout
    assert (tmp_path / "board.conf").read_text() == "TRACKER=[fd00::1]:9190\nLISTEN=::1\n"


@pytest.mark.parametrize(
    ("arguments", "tracker", "message"),
    [
        ([], None, "no tracker is named"),
        ([], "host", "no tracker is named"),
        ([], "a b:1", "is not HOST:PORT"),
        (["--listen", "$(reboot)"], "h:1", "is not an address"),
        (["--prefix"], "h:1", "needs a value"),
        (["--huh"], "h:1", "unknown argument"),
    ],
)
def test_bad_arguments(
    native_kit: Kit, arguments: list[str], tracker: str | None, message: str
) -> None:
    done = install(native_kit, *arguments, tracker=tracker)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_another_machine_is_refused(arm_kit: Kit, tmp_path: Path) -> None:
    done = install(arm_kit, "--prefix", str(tmp_path / "opt"))
    assert done.returncode == 1
    assert "the kit is for aarch64" in done.stderr.replace("this is for", "the kit is for")
    assert not (tmp_path / "opt").exists()


def test_foreign_folders_and_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    board = targets.load("native")
    with pytest.raises(UsageError, match="is not a board kit"):
        write_kit(board, tmp_path)
    for key in ("a b", "a%n", ""):
        with pytest.raises(UsageError, match="cannot be a key"):
            write_kit(board, tmp_path / "kit", key=key or "-" * 101)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    other = "aarch64" if targets.load("native").arch == "x86_64" else "x86_64"
    with pytest.raises(EnvironmentFault) as caught:
        runtime_libraries(other)
    assert "Cannot download TVM's runtime libraries" in str(caught.value)
    assert "Fix: connect to the network" in str(caught.value)
    assert not list((tmp_path / "tvm-flow").rglob("*.so"))


def test_versions_are_read_from_elf_files(tmp_path: Path) -> None:
    library = runtime_libraries(targets.load("native").arch) / "libtvm_runtime.so"
    assert "GLIBC_2.27" in needed_versions(library)["libm.so.6"]
    assert needed_glibc(library) == "2.27"
    broken = tmp_path / "broken.so"
    for content in (b"", b"\x7fELF\x02\x01", library.read_bytes()[:5000]):
        broken.write_bytes(content)
        with pytest.raises(NotElf):
            needed_glibc(broken)
