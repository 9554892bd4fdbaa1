"""The program ``runner`` and the check of a bundle's sample."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime import library, toy

LABELS = ("ant", 'a "bee"', "cat\\dog")
LOGITS = np.array([[1.0, 3.0, 2.0]], np.float32)


def classes(**settings: Any) -> toy.Toy:
    made = toy.copies(((1, 3), "float32"), labels=LABELS, samples=(LOGITS,), expected=(LOGITS,))
    return replace(made, **settings)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(classes(), tmp_path_factory.mktemp("runner") / "classes")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(toy.network(), tmp_path_factory.mktemp("runner") / "network")


def run(bundle: Path, *words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [library.runner(), "--bundle", bundle, *words]
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.run(command, text=True, timeout=60, check=False, **more)


def refused(process: subprocess.CompletedProcess[str], status: int, sentence: str) -> None:
    assert process.returncode == status, process.stderr
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
    assert sentence in process.stderr


# ---- What it prints


def test_classes_times_and_memory(bundle: Path) -> None:
    process = run(bundle, "--top", "2", "--runs", "7")
    assert process.returncode == 0, process.stderr
    first, second, times, memory = process.stdout.splitlines()
    share = np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum() * 100
    assert first.split(maxsplit=4) == [f"{share[1]:.2f}", "%", "1", "3", 'a "bee"']
    assert second.split(maxsplit=4) == [f"{share[2]:.2f}", "%", "2", "2", "cat\\dog"]
    assert "ms median (p10 " in times
    assert "7 runs)" in times
    assert float(memory.split()[0]) > 0.5


def test_files_and_the_sample(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", LOGITS[:, ::-1].copy())
    assert " 1  3 " in run(bundle, "--top", "1").stdout
    assert run(bundle, tmp_path / "x.npy", "--runs", "0").stdout.split()[2] == "1"
    (tmp_path / "x.bin").write_bytes(np.array([9, 1, 1], np.float32).tobytes())
    process = run(bundle, tmp_path / "x.bin", "--runs", "0", "--top", "9")
    assert process.stdout.split()[2:5] == ["0", "9", "ant"]
    assert len(process.stdout.splitlines()) == 4


def test_json(network: Path) -> None:
    words = ["--runs", "3", "--profile", "--check", "--threads", "1"]
    process = run(network, *words, "--json")
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    assert report["model"] == "toy"
    assert report["threads"] == 1
    assert report["emulated"] is False
    assert len(report["milliseconds"]) == 3
    assert [o["shape"] for o in report["outputs"]] == [[1, 3, 4, 5], [], [60]]
    assert [step["name"] for step in report["profile"]] == ["scale", "sum", "positive", "copy"]
    assert report["max_rel_error"] <= 1e-6
    text = run(network, *words).stdout
    assert "check passed" in text
    assert " us  positive\n" in text


def test_json_quotes(tmp_path: Path) -> None:
    made = classes(name='a "b"\\c\n\x01é', outputs=('"',))
    report = json.loads(run(toy.write(made, tmp_path), "--json", "--runs", "0").stdout)
    assert report["model"] == 'a "b"\\c\n\x01é'
    assert report["outputs"] == [{"name": '"', "shape": [1, 3]}]
    assert "max_rel_error" not in report


def test_save(network: Path, tmp_path: Path) -> None:
    expected = toy.network().expected
    for name in ("out.npy", "prefix"):
        process = run(network, "--save", tmp_path / name)
        assert process.returncode == 0, process.stderr
        stem = name.removesuffix(".npy")
        for number, wanted in enumerate(expected):
            path = tmp_path / f"{stem}{f'_{number + 1}' if number else ''}.npy"
            assert f"saved {path}\n" in process.stdout
            found = np.load(path)
            assert found.dtype == wanted.dtype
            assert found.shape == wanted.shape
            assert np.allclose(found, wanted, rtol=1e-6)


# ---- The default bundle


def test_the_bundle_it_lies_in(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "there")
    program = shutil.copy(library.runner(), tmp_path / "there")
    (tmp_path / "link").symlink_to(program)
    for path in (program, tmp_path / "link"):
        process = subprocess.run([path, "--check"], cwd="/", capture_output=True, check=False)
        assert process.returncode == 0, process.stderr


# ---- Arguments


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--runs", "abc"], "--runs abc is not possible"),
        (["--runs", ""], "--runs  is not possible"),
        (["--runs", "1e3"], "--runs 1e3"),
        (["--runs", "-1"], "--runs -1"),
        (["--runs", " 1"], "--runs  1"),
        (["--runs", "99999999999999999999"], "from 0 to"),
        (["--threads", "2x"], "--threads 2x"),
        (["--threads", "0"], "from 1 to 1024"),
        (["--threads", "1000"], "1000 thread(s) are not possible"),
        (["--top", "-1"], "--top -1"),
        (["--top"], "--top needs a value"),
        (["--save"], "--save needs a value"),
        (["--fast"], "unknown option --fast. Usage: runner"),
        (["-x"], "unknown option -x"),
        (["a.npy", "b.npy"], "2 FILE(s) were given, the network has 1 input(s)"),
        (["--check", "a.npy"], "takes no FILE"),
        (["a.npy"], "cannot read a.npy: No such file"),
        (["--bundle", "x" * 5000], "too long"),
        (["--save", "x" * 5000], "too long"),
    ],
)
def test_wrong_arguments(bundle: Path, words: list[str], sentence: str) -> None:
    refused(run(bundle, *words), library.USAGE, sentence)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--runs", "3", "--help"]])
def test_help(words: list[str]) -> None:
    said = subprocess.check_output([library.runner(), *words], text=True)
    assert said.startswith("usage: runner ")


# ---- Streams and disks


def test_stdout_full_and_closed(bundle: Path) -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        refused(run(bundle, stdout=full), 1, "standard output: No space left")
        refused(run(bundle, "--json", stdout=full), 1, "standard output: No space left")
    closed = run(bundle, stdout=None, preexec_fn=lambda: os.close(1))
    refused(closed, 1, "standard output: it is closed")


def test_nothing_is_printed_into_the_saved_file(bundle: Path, tmp_path: Path) -> None:
    """A file that is opened while a standard stream is closed would get that stream's number."""
    path = tmp_path / "x.npy"
    close = [lambda: os.close(1), lambda: os.close(2), lambda: os.closerange(0, 3)]
    for close_streams in close:
        run(bundle, "--save", path, stdout=None, stderr=None, preexec_fn=close_streams)
        assert np.array_equal(np.load(path), LOGITS)


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """A limit on files' sizes does what a full disk does; no half of a file stays."""
    values = np.ones((1, 100_000), np.float32)
    made = toy.copies(((1, 100_000), "float32"), samples=(values,), expected=(values,))
    bundle = toy.write(made, tmp_path / "toy")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    path = tmp_path / "x.npy"
    process = run(bundle, "--save", path, preexec_fn=limit)
    refused(process, 1, f"cannot write {path}: File too large")
    assert not path.exists()
    refused(run(bundle, "--save", tmp_path / "no" / "x.npy"), 1, "No such file")
    (tmp_path / "full.npy").symlink_to("/dev/full")
    refused(run(bundle, "--save", tmp_path / "full.npy"), 1, "No space left")
    assert (tmp_path / "full.npy").is_char_device()


# ---- Checks


def expect(bundle: Path, folder: Path, change: Callable[[Any], Any]) -> Path:
    copy = shutil.copytree(bundle, folder)
    path = copy / "sample_expected.npy"
    np.save(path, change(np.load(path)))
    return copy


def test_check_of_every_type(tmp_path: Path) -> None:
    """Differences are found in each type and output; of whole numbers any is too large."""
    for number, dtype in enumerate(["float16", "float64", "int8", "int64", "uint16", "bool"]):
        values = np.array([[0, 1, 1, 0]]).astype(dtype)
        made = toy.copies(*[((1, 4), dtype)] * 2, samples=(values,) * 2, expected=(values,) * 2)
        folder = toy.write(made, tmp_path / f"{number}")
        with library.open_bundle(folder) as net:
            assert net.check(folder) == 0
            np.save(folder / "sample_expected_2.npy", np.array([[0, 1, 0, 0]]).astype(dtype))
            told = "1.00e+00" if dtype.startswith("float") else "inf"
            with pytest.raises(
                library.Refused, match=f"max relative error {re.escape(told)}"
            ) as wrong:
                net.check(folder)
            assert wrong.value.status == library.NUMERICS


def test_check_of_small_and_negative_numbers(tmp_path: Path) -> None:
    given = np.array([2**-24, -(2**-15), 65504.0, -1.5], np.float16)
    half = (given / 2).astype(np.float16)
    made = toy.copies(((4,), "float16"), samples=(given,), expected=(half,), tolerance=1.0)
    folder = toy.write(made, tmp_path)
    with library.open_bundle(folder) as net:
        doubles = half.astype(np.float64)
        wanted = np.abs(given.astype(np.float64) - doubles).max() / np.abs(doubles).max()
        assert net.check(folder) == pytest.approx(wanted, rel=1e-12)


def test_whole_numbers_differ_by_one_however_large_they_are(tmp_path: Path) -> None:
    for dtype, values in {"int16": [-32768, 32767, -1], "int64": [-(2**62), 2**62, 5]}.items():
        given = np.array(values).astype(dtype)
        for off in (0, 1):
            expected = given + np.array([off, 0, 0], dtype)
            made = toy.copies(((3,), dtype), samples=(given,), expected=(expected,), tolerance=1.0)
            folder = toy.write(made, tmp_path / f"{dtype}{off}")
            with library.open_bundle(folder) as net:
                if not off:
                    assert net.check(folder) == 0
                    continue
                with pytest.raises(library.Refused, match="max relative error inf"):
                    net.check(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_is_infinitely_wrong(bundle: Path, tmp_path: Path, value: float) -> None:
    folder = expect(bundle, tmp_path / "copy", lambda x: np.where(x == 3, np.float32(value), x))
    refused(run(folder, "--check"), library.NUMERICS, "max relative error inf")
    report = run(folder, "--check", "--json")
    refused(report, library.NUMERICS, "computes wrong values")
    assert json.loads(report.stdout)["max_rel_error"] == np.inf


def test_wrong_values(bundle: Path, tmp_path: Path) -> None:
    folder = expect(bundle, tmp_path / "copy", lambda x: x + np.float32(3e-3))
    process = run(folder, "--check")
    refused(process, library.NUMERICS, "computes wrong values on this machine")
    assert "check passed" not in process.stdout
    assert "max relative error 9.99e-04 (tolerance 1e-05)" in process.stdout


def test_samples_that_are_missing_or_damaged(bundle: Path, tmp_path: Path) -> None:
    other_type = expect(bundle, tmp_path / "copy", lambda x: x.astype(np.float64))
    refused(run(other_type, "--check"), library.BUNDLE, "copy the bundle again")
    (other_type / "sample_input.npy").unlink()
    refused(run(other_type, "--check"), library.BUNDLE, "sample_input.npy: No such file")
    refused(run(tmp_path, "--check"), library.BUNDLE, "not a bundle")


def test_a_sample_with_nan(bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle, tmp_path / "copy")
    np.save(folder / "sample_input.npy", LOGITS * np.float32(np.nan))
    refused(run(folder, "--check"), library.USAGE, "NaN or infinity")
    refused(run(folder), library.USAGE, "NaN or infinity")
