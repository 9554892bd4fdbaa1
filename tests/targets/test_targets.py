"""Boards: every file loads, LLVM knows its CPU, and a mistake is one line with file and key."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tvm_flow import targets
from tvm_flow.targets.board import Board, Cluster, TargetFileError
from tvm_flow.targets.native import AVX2, AVX512, Machine, choose_class, detect, features, identify
from tvm_flow.targets.native import parse_cpu_list as cpu_list

BOARDS = [name for name in targets.names() if name != targets.NATIVE]
RK3399 = (Path(targets.__file__).parent / "rk3399.toml").read_text()


def test_names_hold_the_promised_boards() -> None:
    assert targets.names()[0] == "native"
    assert {
        "rk3399", "rk3399-little", "raspberry-pi-4",
        "jetson-nano", "jetson-tx2", "jetson-xavier", "jetson-orin",
    } <= set(BOARDS)  # fmt: skip


def test_package_imports_neither_tvm_nor_torch() -> None:
    code = (
        "import sys; from tvm_flow import targets; targets.load('native'); "
        "print(sorted({'tvm', 'torch', *(m for m in sys.modules if m.startswith('tvm_flow.')"
        " and not m.startswith(('tvm_flow.targets', 'tvm_flow.support')))} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("name", targets.names())
def test_llvm_accepts_the_target(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    from tvm.target import Target, codegen  # noqa: PLC0415 - the package itself works without

    board = targets.load(name)
    target = Target(board.tvm_target())
    known = codegen.llvm_get_cpu_archlist(target)
    assert {board.mcpu, *(c.mcpu for c in board.clusters)} <= set(known)
    enabled = set(codegen.llvm_get_cpu_features(target))
    assert {attr[1:] for attr in board.mattr if attr[0] == "+"} <= enabled
    assert not {attr[1:] for attr in board.mattr if attr[0] == "-"} & enabled
    assert target.attrs["num-cores"] == board.threads
    if board.gpu:
        assert Target(board.tvm_gpu_target()).attrs["arch"] == f"sm_{board.gpu.sm}"
    assert "not a recognized" not in capfd.readouterr().err


def test_rk3399_uses_the_big_cores() -> None:
    board = targets.load("rk3399")
    assert (board.cores, board.threads, board.mcpu) == ((4, 5), 2, "cortex-a72")
    assert (board.lanes, board.vector_registers) == (4, 32)
    assert (board.l1_bytes, board.l2_bytes) == (32 << 10, 512 << 10)
    assert board.peak_gflops() == pytest.approx(2 * 4 * 1.8)
    assert board.peak_gflops(2) == pytest.approx(2 * 2 * 4 * 1.8)
    assert board.log_name == "rk3399"
    assert not board.is_native
    assert not board.looks_up
    with pytest.raises(ValueError, match="1 to 2 threads, not 3"):
        board.peak_gflops(3)
    with pytest.raises(KeyError):
        board.cluster_of(6)


def test_little_and_big_file_describe_the_same_chip() -> None:
    big, little = targets.load("rk3399"), targets.load("rk3399-little")
    assert big.clusters == little.clusters
    assert little.cores == (0, 1, 2, 3)


@pytest.mark.parametrize("name", BOARDS)
def test_vector_features_fit_the_core(name: str) -> None:
    """A53, A57 and A72 are Armv8.0: neither fp16 arithmetic nor dot product."""
    for cluster in targets.load(name).clusters:
        if cluster.mcpu in ("cortex-a53", "cortex-a57", "cortex-a72"):
            assert cluster.features == ("neon",)
            assert cluster.fma_per_cycle == 1


def test_gpu_side() -> None:
    sms = {name: board.gpu.sm for name in BOARDS if (board := targets.load(name)).gpu}
    assert sms == {"jetson-nano": 53, "jetson-tx2": 62, "jetson-xavier": 72, "jetson-orin": 87}
    with pytest.raises(TargetFileError, match="rk3399 has no GPU"):
        targets.load("rk3399").tvm_gpu_target()


@pytest.mark.parametrize(
    ("old", "new", "key", "why"),
    [
        ("threads = 2", "thread = 2", "thread", "unknown key (meant 'threads'?)"),
        ("l3_kib = 0\n", "", "l3_kib", "missing key"),
        ("threads = 2", 'threads = "2"', "threads", "expected int, got '2'"),
        ("threads = 2", "threads = true", "threads", "expected int, got True"),
        ("threads = 2", "threads = 3", "threads", "more threads than cores"),
        ("threads = 2", "threads = 0", "threads", "must be positive"),
        ("[4, 5]\nthreads = 2", "[4, 6]\nthreads = 2", "cores", "ids [6] do not exist"),
        ("cores = [4, 5]\nthreads = 2", "cores = []\nthreads = 2", "cores", "no core to run on"),
        ("cores = [4, 5]\nthreads = 2", "cores = [4, 4]\nthreads = 2", "cores", "listed twice"),
        ("cores = [4, 5]\nthreads = 2", "cores = 4\nthreads = 2", "cores", "expected a list"),
        ("cores = [4, 5]\nthreads = 2", 'cores = [4, "5"]\nthreads = 2', "cores[1]", "expected"),
        ('arch = "aarch64"', 'arch = "arm"', "arch", "not one of x86_64, aarch64"),
        ('arch = "aarch64"', 'arch = "x86_64"', "mtriple", "does not begin with x86_64"),
        ('glibc_floor = "2.28"', 'glibc_floor = "buster"', "glibc_floor", "not a glibc version"),
        ('mcpu = "cortex-a72"\nmattr', 'mcpu = "cortex-a53"\nmattr', "mcpu", "cluster in use"),
        ('mattr = ["+neon"]', 'mattr = ["neon"]', "mattr", "do not look like"),
        ('name = "rk3399"', 'name = "rk3399-copy"', "name", "must equal the file's name"),
        ("l1d_kib = 32", "l1d_kib = 0", "clusters[0].l1d_kib", "must be positive"),
        ("max_mhz = 1800", "mhz = 1800", "clusters[1].mhz", "unknown key"),
        ("dram_gbps = 12.8", "dram_gbps = 12.8\ngpu = 3", "gpu", "expected a table"),
        ("threads = 2", "threads = 2\nalignment = 48", "alignment", "not a power of two"),
    ],
)  # fmt: skip
def test_mistakes_name_file_and_key(tmp_path: Path, old: str, new: str, key: str, why: str) -> None:
    assert old in RK3399
    path = tmp_path / "rk3399.toml"
    path.write_text(RK3399.replace(old, new))
    with pytest.raises(TargetFileError) as caught:
        targets.load(path)
    message = str(caught.value)
    assert f"Target file rk3399.toml, key {key!r}: " in message
    assert why in message
    assert "Fix: " in message
    assert "\n" not in message


def test_own_file_loads_by_path(tmp_path: Path) -> None:
    path = tmp_path / "my-board.toml"
    path.write_text(RK3399.replace('name = "rk3399"', 'name = "my-board"'))
    board = targets.load(str(path))
    assert dataclasses.replace(board, name="rk3399") == targets.load("rk3399")
    assert board.log_name == "my-board"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("rk339", "use 'rk3399'"),
        ("toaster", "known: native, jetson-nano"),
        ("no/such.toml", "does not exist"),
        ("../targets/rk3399", "Unknown target"),
        ("", "Unknown target"),
    ],
)
def test_unknown_name(name: str, part: str) -> None:
    with pytest.raises(TargetFileError, match=part):
        targets.load(name)


def test_unreadable_toml(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("name = ")
    with pytest.raises(TargetFileError, match=r"bad\.toml cannot be read: Invalid value"):
        targets.load(path)


# -- native -------------------------------------------------------------------------------------


def test_native_is_this_machine() -> None:
    board = targets.load("native")
    assert board.is_native
    assert board.log_name in (
        "native-x86_64-avx512", "native-x86_64-avx512-2fma", "native-x86_64-avx2",
        "native-x86_64-sse", "native-aarch64-neon",
    )  # fmt: skip
    assert board.threads == len(board.cores) >= 1
    assert board.l1_bytes >= 16 << 10
    assert board.l2_bytes >= 128 << 10


def machine(root: Path, cpuinfo: str, files: dict[str, str] | None = None) -> Machine:
    """A machine as ``/proc`` and ``/sys`` below ``root`` show it."""
    for name, text in {"proc/cpuinfo": cpuinfo, **(files or {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(root)


def x86_cpuinfo(
    count: int, model: int, flags: str, vendor: str = "AuthenticAMD", family: int = 25
) -> str:
    family = family if vendor == "AuthenticAMD" else 6
    return "\n\n".join(
        f"processor\t: {i}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"cpu MHz\t\t: 2600.4\nflags\t\t: {flags}"
        for i in range(count)
    )


AVX2_ONLY = "pni avx avx2 fma f16c bmi1 bmi2"
WITH_AVX512 = AVX2_ONLY + " avx512f avx512cd avx512bw avx512dq avx512vl"


@pytest.fixture
def _x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.delenv("TVM_FLOW_NATIVE", raising=False)


@pytest.mark.usefixtures("_x86")
def test_zen4_without_sys(tmp_path: Path) -> None:
    board = detect(machine(tmp_path, x86_cpuinfo(2, 17, WITH_AVX512)), affinity=[0, 1])
    assert (board.mcpu, board.lanes, board.vector_registers) == ("znver4", 16, 32)
    assert board.clusters[0].fma_per_cycle == 1
    assert board.log_name == "native-x86_64-avx512"
    assert board.l1_bytes == 32 << 10  # no /sys: the smallest of the class
    assert "+avx512f" in board.mattr
    assert "-avx512vnni" in board.mattr, "not in the flags, so LLVM must not use it"
    assert board.looks_up
    assert board.peak_gflops() == pytest.approx(2 * 16 * 2.6)
    assert "no cpufreq" in " ".join(board.sources)


@pytest.mark.usefixtures("_x86")
def test_two_wide_fmas_a_cycle_are_a_class_of_their_own(tmp_path: Path) -> None:
    board = detect(machine(tmp_path, x86_cpuinfo(2, 2, WITH_AVX512, family=26)), affinity=[0, 1])
    assert (board.mcpu, board.lanes, board.clusters[0].fma_per_cycle) == ("znver5", 16, 2)
    assert board.log_name == "native-x86_64-avx512-2fma"


@pytest.mark.usefixtures("_x86")
def test_masked_avx512_is_the_avx2_class(tmp_path: Path) -> None:
    board = detect(machine(tmp_path, x86_cpuinfo(1, 17, AVX2_ONLY)), affinity=[0])
    assert (board.mcpu, board.lanes, board.vector_registers) == ("znver4", 8, 16)
    assert board.clusters[0].fma_per_cycle == 2
    assert "-avx512f" in board.mattr
    assert not board.looks_up
    assert board.log_name == "native-x86_64-avx2"


@pytest.mark.usefixtures("_x86")
def test_unknown_cpu_falls_back_to_features(tmp_path: Path) -> None:
    for flags, mcpu in ((WITH_AVX512, "x86-64-v4"), (AVX2_ONLY, "x86-64-v3"), ("pni", "x86-64")):
        info = x86_cpuinfo(1, 999, flags, "GenuineIntel")
        assert detect(machine(tmp_path, info), affinity=[0]).mcpu == mcpu


@pytest.mark.usefixtures("_x86")
def test_forced_avx2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_FLOW_NATIVE", "avx2")
    board = detect(machine(tmp_path, x86_cpuinfo(1, 17, WITH_AVX512)), affinity=[0])
    assert (board.mcpu, board.lanes, board.vector_registers) == ("haswell", 8, 16)
    assert board.clusters[0].fma_per_cycle == 2
    assert board.log_name == "native-x86_64-avx2"
    assert not [a for a in board.mattr if a.startswith("+avx512")]


def test_impossible_wish_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_FLOW_NATIVE", "avx2")
    with pytest.raises(TargetFileError, match="TVM_FLOW_NATIVE=avx2 is impossible"):
        choose_class("x86_64", frozenset({"pni"}))
    monkeypatch.setenv("TVM_FLOW_NATIVE", "fast")
    with pytest.raises(TargetFileError, match="only 'avx2' and 'auto'"):
        choose_class("x86_64", frozenset(WITH_AVX512.split()))


@pytest.mark.usefixtures("_x86")
def test_one_thread_per_physical_core_within_affinity(tmp_path: Path) -> None:
    files = {}
    for cpu in range(4):  # 0/2 and 1/3 are hyper-threads of one core
        base = f"sys/devices/system/cpu/cpu{cpu}"
        files[f"{base}/topology/thread_siblings_list"] = f"{cpu % 2},{cpu % 2 + 2}"
        for index, (level, kind, size, sharers) in enumerate(
            [("1", "Data", "48K", f"{cpu % 2},{cpu % 2 + 2}"), ("1", "Instruction", "64K", "0-3"),
             ("2", "Unified", "2M", f"{cpu % 2},{cpu % 2 + 2}"), ("3", "Unified", "32M", "0-3")]
        ):  # fmt: skip
            cache = f"{base}/cache/index{index}"
            values = {"level": level, "type": kind, "size": size, "shared_cpu_list": sharers}
            files |= {f"{cache}/{key}": value for key, value in values.items()}
        files[f"{base}/cpufreq/cpuinfo_max_freq"] = "3500000"
    found = machine(tmp_path, x86_cpuinfo(4, 17, WITH_AVX512), files)
    board = detect(found, affinity=[0, 1, 2, 3])
    assert board.cores == (0, 1)
    assert (board.l1_bytes, board.l2_bytes, board.l3_kib) == (48 << 10, 2 << 20, 32 << 10)
    assert board.clusters[0].max_mhz == 3500
    assert detect(found, affinity=[2, 3]).cores == (2, 3)


def test_big_little_uses_the_fast_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.delenv("TVM_FLOW_NATIVE", raising=False)
    info = "\n\n".join(
        f"processor\t: {i}\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: {part}"
        for i, part in enumerate(["0xd03"] * 4 + ["0xd08"] * 2)
    )
    clock = {
        f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": "1416000" if i < 4 else "1800000"
        for i in range(6)
    }
    board = detect(machine(tmp_path, info, clock), affinity=range(6))
    assert (board.mcpu, board.cores, board.lanes) == ("cortex-a72", (4, 5), 4)
    assert [c.mcpu for c in board.clusters] == ["cortex-a53", "cortex-a72"]
    assert "+neon" in board.mattr
    assert "-dotprod" in board.mattr
    assert board.log_name == "native-aarch64-neon"
    assert detect(machine(tmp_path, info, clock), affinity=[1, 2]).mcpu == "cortex-a53"


def test_unsupported_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(TargetFileError, match="'riscv64' is not supported"):
        detect(machine(tmp_path, ""))


def test_identify_and_features() -> None:
    assert identify({"vendor_id": "GenuineIntel", "cpu family": "6", "model": "85"}) == (
        "skylake-avx512", 2, 2,
    )  # fmt: skip
    assert identify({"vendor_id": "Other", "cpu family": "6", "model": "85"}) is None
    flags = frozenset(WITH_AVX512.split())
    assert "-prefer-256-bit" in features("x86_64", flags, AVX512)
    assert "-avx512f" in features("x86_64", flags, AVX2)
    assert cpu_list("0-2,5") == {0, 1, 2, 5}


def test_board_types_are_frozen() -> None:
    for kind in (Board, Cluster):
        assert dataclasses.is_dataclass(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        targets.load("rk3399").threads = 1  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(150))
def test_a_changed_target_file_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    """Some bytes changed, or another value of a key."""
    rng = random.Random(seed)
    text = (Path(targets.__file__).parent / "rk3399.toml").read_bytes()
    lines, data = text.split(b"\n"), bytearray(text)
    if seed % 3 == 0:
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    else:
        number = rng.choice([n for n, line in enumerate(lines) if b"=" in line])
        values = b'0 -1 1e400 nan "" [] [[1]] {} true 99999999999999999999 [-1] [1.5]'.split()
        lines[number] = lines[number].partition(b"=")[0] + b"= " + rng.choice(values)
        data[:] = b"\n".join(lines)
    (tmp_path / "rk3399.toml").write_bytes(data)
    with suppress(TargetFileError):
        targets.load(str(tmp_path / "rk3399.toml")).tvm_target()
