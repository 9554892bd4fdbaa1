"""Bad input: one line that says what, why and what to do; exit code not 0; no data lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.conftest import MODELS, NET, accepted, refused, script, tvm_flow
from tvm_flow import targets
from tvm_flow.tuning.records.record import Header, Record

FOLDER = targets.load("native").log_name


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("fly NET", 2),
        ("compile NET -o x --target rk3398", 2),
        ("trace nowhere.py:net", 3),
        ("records repair none", 4),
        ("compile NET -o file/net", 6),
        ("run none", 7),
    ],
)
def test_exit_codes_of_the_installed_script(arguments: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = [NET if word == "NET" else word for word in arguments.split()]
    refused(script(*words, cwd=tmp_path), code)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- models -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "code", "parts"),
    [
        ("fasternet_t9", 2, ("no model 'fasternet_t9'", "close names", "fasternet_t0")),
        ("nowhere.py:net", 3, ("nowhere.py does not exist",)),
        (f"{MODELS}:nett", 3, ("does not define nett", f"{MODELS}:net")),
        (f"{MODELS}:raises", 3, ("ValueError: the weights are elsewhere", "user_models.py:")),
        (f"{MODELS}:broken_weights", 3, ("head.weight", "NaN")),
        (f"{MODELS}:dynamic", 3, ("user_models.py:",)),
        (f"{MODELS}:noisy", 3, ("is random", "training=self.training")),
        (f"{MODELS}:tokens", 3, ("takes 2 inputs (ids, mask)", "--input ids=")),
    ],
)
def test_model(model: str, code: int, parts: tuple[str, ...], tmp_path: Path) -> None:
    refused(tvm_flow("compile", model, "-o", tmp_path / "x"), code, *parts)
    assert not list(tmp_path.iterdir())


def test_a_library_that_fails_to_clean_up_is_no_traceback() -> None:
    """As TVM's temporary folders do where Ctrl-C came in the middle of removing them."""
    program = (
        "from tvm_flow.cli import main\n"
        "class Folder:\n"
        "    def __del__(self): raise OSError('gone already')\n"
        "main(['targets']{})\n"
        "Folder()\n"
    )
    for more, shown in (("", False), (" + ['--debug']", True)):
        done = subprocess.run(
            [sys.executable, "-c", program.format(more)],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert "rk3399" in done.stdout
        assert ("Traceback" in done.stderr) is shown, done.stderr


def test_dynamic_shapes(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(
        torch.nn.Conv2d(3, 4, 3).eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=[{0: batch}]
    )
    torch.export.save(program, tmp_path / "dynamic.pt2")
    refused(tvm_flow("trace", tmp_path / "dynamic.pt2"), 3, "dynamic shapes", "export it again")


def test_wrong_input_shape_for_the_model() -> None:
    line = refused(tvm_flow("trace", NET, "--input", "1x4x16x16"), 3, "1x4x16x16", "body.0")
    assert "expected input" in line


# -- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("compile NET -o x --target rk3398", ("Unknown target 'rk3398'", "rk3399")),
        ("compile NET -o x --target no/such.toml", ("does not exist",)),
        ("compile NET -o x --threads 0", ("0 thread(s)", "--threads 1")),
        ("compile NET -o x --threads 4096", ("4096 thread(s)",)),
        ("compile NET -o x --layout nchw4", ("layout",)),
        ("compile NET", ("-o",)),
        ("trace NET --input 1x0x16x16", ("1x0x16x16",)),
        ("trace NET --input big", ("'big' is not a shape",)),
        ("trace NET --input y=1x3x16x16", ("no input y", "it takes x")),
        ("trace NET --input 1x3x16x16:half", ("'half' is not a type of inputs", "float32")),
        ("trace NET --input 1x3x16x16 --input 2", ("takes 1 input(s), 2 given",)),
        ("trace NET --sample no_such.npy", ("Cannot read the sample no_such.npy",)),
        ("tune NET --trials 0", ("0 trials",)),
        ("tune NET --trials -5", ("-5 trials",)),
        ("tune NET --trials 99999999999999999999", ("99999999999999999999 trials", "1000000")),
        ("tune NET --trials many", ("--trials", "--help")),
        ("tune NET --minutes 0", ("0.0 minutes",)),
        ("tune NET --minutes nan", ("nan minutes",)),
        ("compare NET --threads 1,two", ("1,two",)),
        ("compare NET --threads 4096", ("4096",)),
        ("compile NET -o x --labels no_such.txt", ("no_such.txt",)),
        ("fly NET", ("fly",)),
    ],
)
def test_arguments(arguments: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    words = [NET if word == "NET" else word for word in arguments.split()]
    refused(tvm_flow(*words, cwd=tmp_path, TVM_FLOW_RECORDS=str(tmp_path)), 2, *parts)
    assert not list(tmp_path.iterdir())


# -- records ------------------------------------------------------------------------------------


def good_lines(target: str = FOLDER) -> list[bytes]:
    trial = Record("conv2d(ci=3)", "direct", {"mt": 4}, 1, "ok", 1e-3, 1e-3, 1e-3)
    return [Header.now(target).encode(), trial.encode(), trial.encode()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "records" / FOLDER / "local.jsonl"
    path.parent.mkdir(parents=True)
    return path


def refuses_and_keeps(log: Path, *parts: str) -> None:
    """Both verbs that read records refuse, and leave the file and the output alone."""
    before, output = log.read_bytes(), log.parents[2] / "out"
    for arguments in (["tune", NET, "--trials", "4"], ["compile", NET, "-o", output]):
        done = tvm_flow(*arguments, "--records", log.parents[1])
        refused(done, 4, f"{log.name}:", *parts)
    assert log.read_bytes() == before
    assert not output.exists()


def test_corrupt_records(log: Path) -> None:
    head, trial, last = good_lines()
    log.write_bytes(head + trial.replace(b"ok", b"OK") + b"\x00\xff garbage\n" + last)
    refuses_and_keeps(log, f"{log.name}:2", f"tvm-flow records repair {log.parent}")
    done = accepted(tvm_flow("records", "repair", log.parent))
    assert "2 lines kept, 2 moved" in done.stdout.replace("\n", " ")
    assert log.read_bytes() == head + last
    assert b"garbage" in log.with_name("local.jsonl.torn").read_bytes()
    assert json.loads(accepted(tvm_flow("records", "show", log.parent, "--json")).stdout)


def test_truncated_records(log: Path, tmp_path: Path) -> None:
    """A last line cut short by a crash is no reason to stop: it is left out and said so."""
    whole = b"".join(good_lines())
    log.write_bytes(whole[:-30])
    shown = json.loads(accepted(tvm_flow("records", "show", log.parent, "--json")).stdout)
    assert shown["records"] == 1
    assert "torn line" in shown["notes"][0]
    done = accepted(tvm_flow("compile", NET, "-o", tmp_path / "net", "--records", log.parents[1]))
    assert "torn line" in done.stdout.replace("\n", " ")
    assert log.read_bytes() == whole[:-30]
    log.write_bytes(whole[:40])  # not even the header is whole: no records are left in it
    assert (
        json.loads(accepted(tvm_flow("records", "show", log.parent, "--json")).stdout)["records"]
        == 0
    )


def test_foreign_records(log: Path) -> None:
    log.write_bytes(b"".join(good_lines("rk3399")))
    refuses_and_keeps(log, "log of 'rk3399'", "move local.jsonl")
    log.write_bytes(b'{"workload": "a TVM database"}\n')
    refuses_and_keeps(log, "unknown kind", "records repair")


def test_records_of_a_newer_version(log: Path) -> None:
    header, *trials = good_lines()
    entry = json.loads(header) | {"schema": 3}
    del entry["sha"]
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    sha = hashlib.sha256(text.encode()).hexdigest()[:16]
    newer = json.dumps({**entry, "sha": sha}).encode() + b"\n"
    log.write_bytes(b"".join([newer, *trials]))
    refuses_and_keeps(log, "newer version of tvm-flow (schema 3)", "move local.jsonl")
    refused(tvm_flow("records", "migrate", log.parent), 4, "newer version")
    assert log.read_bytes() == b"".join([newer, *trials])


def test_repair_without_records(tmp_path: Path) -> None:
    refused(tvm_flow("records", "repair", tmp_path / "none"), 4, "No tuning records")


# -- bundles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.so", "manifest.json", "sample_expected.npy", "run.py"])
def test_one_byte_changed(bundle: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "net"))
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    for verb in ("check", "run"):
        refused(tvm_flow(verb, copy), 7, name, "compile")


def test_bundle_for_another_architecture(board_bundle: Path) -> None:
    for verb in ("check", "run"):
        refused(tvm_flow(verb, board_bundle), 7, "aarch64", "rk3399")
    refused(tvm_flow("profile", board_bundle), 7, "aarch64")


def test_not_a_bundle(tmp_path: Path) -> None:
    refused(tvm_flow("check", tmp_path), 7, "is not a bundle")
    refused(tvm_flow("check", tmp_path / "none"), 7, "is not a bundle")


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.zeros((1, 3, 17, 17), np.float32), "(1, 3, 17, 17)"),
        (np.zeros((1, 3, 16, 16), np.float64), "float64"),
        (np.full((1, 3, 16, 16), np.nan, np.float32), "NaN"),
    ],
)
def test_wrong_input(bundle: Path, tmp_path: Path, array: np.ndarray, part: str) -> None:
    np.save(tmp_path / "x.npy", array)
    refused(tvm_flow("run", bundle, "--input", tmp_path / "x.npy"), 2, part)


def test_unreadable_input(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"not a picture")
    refused(tvm_flow("run", bundle, "--input", tmp_path / "x.jpg"), 2, "x.jpg")
    refused(tvm_flow("run", bundle, "--input", tmp_path / "none.npy"), 2, "none.npy")
    refused(tvm_flow("run", bundle, "--threads", "4096"), 2, "4096")


# -- disks --------------------------------------------------------------------------------------


def mounted(folder: Path, options: str) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; only root can make one."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted(folder, "size=1m")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_disk_full(small_disk: Path, bundle: Path) -> None:
    """The bundle that is there survives, and what was begun is taken away."""
    old = Path(shutil.copytree(bundle, small_disk / "net"))
    line = refused(tvm_flow("compile", NET, "-o", old, "--threads", "1"), 6, "space", "--output")
    assert str(small_disk) in line
    assert sorted(small_disk.iterdir()) == [old]
    accepted(tvm_flow("check", old))


def test_disk_full_while_tuning(small_disk: Path) -> None:
    """What fits is kept, and is a valid log."""
    records = small_disk / FOLDER
    records.mkdir()
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(b"0" * (free - 4 * 4096))
    done = tvm_flow("tune", NET, "--trials", "60", "--records", small_disk)
    lines = done.stderr.splitlines()
    assert done.returncode == 4
    assert lines[-1].startswith("error: Cannot write the tuning records")
    assert "free some space" in lines[-1]
    assert "Traceback" not in done.stderr
    shown = json.loads(accepted(tvm_flow("records", "show", records, "--json")).stdout)
    assert shown["records"] > 0


def test_read_only_output(bundle: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o555)
        refused(tvm_flow("compile", NET, "-o", folder / "net"), 6, "Permission denied")
        refused(tvm_flow("tune", NET, "--records", folder), 4, "Permission denied")
        return
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted(folder, "size=4m,ro")  # root may write to any folder but not to such a disk
    try:
        refused(tvm_flow("compile", NET, "-o", folder / "net"), 6, "Read-only file system")
        refused(tvm_flow("tune", NET, "--records", folder), 4, "Read-only file system")
    finally:
        subprocess.run(["umount", folder], check=True)


def test_output_that_is_something_else(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("dear to me")
    refused(tvm_flow("compile", NET, "-o", tmp_path / "thesis"), 2, "is not a bundle")
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "dear to me"
    (tmp_path / "file").touch()
    refused(tvm_flow("compile", NET, "-o", tmp_path / "file" / "net"), 6, "cannot write the bundle")


def test_results_that_cannot_be_saved(bundle: Path, tmp_path: Path) -> None:
    refused(tvm_flow("run", bundle, "--save", tmp_path / "x.txt"), 2, "does not end in .npy")
    (tmp_path / "full.npy").symlink_to("/dev/full")
    full = tvm_flow("run", bundle, "--save", tmp_path / "full.npy")
    refused(full, 6, "No space left on device", "--save")
    (tmp_path / "file").write_text("precious")
    refused(tvm_flow("run", bundle, "--save", tmp_path / "file" / "x.npy"), 6, "cannot write")
    assert (tmp_path / "file").read_text() == "precious"
