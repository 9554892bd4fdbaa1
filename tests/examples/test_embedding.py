"""A bundle in other people's programs: every example is built and run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "embedding"
WIDTH, HEIGHT = 64, 48
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1")
RED, GREEN, BLUE = (bytes(255 if i == c else 0 for i in range(3)) for c in range(3))
SUMMARY = re.compile(r"(\d+) frames, [\d.]+ frames per second.*")
in_c = pytest.mark.system("embed")


def done(
    *command: str | Path, data: bytes = b"", code: int = 0, **environment: str
) -> tuple[list[str], str]:
    """Lines of standard output, and standard error."""
    told = subprocess.run(
        command, input=data, capture_output=True, timeout=60, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert told.returncode == code, told.stderr.decode()
    return told.stdout.decode().splitlines(), told.stderr.decode()


def frames(*colours: bytes) -> bytes:
    return b"".join(colour * (WIDTH * HEIGHT) for colour in colours)


def pkg_config(bundle: Path, *options: str) -> list[str]:
    command = ("pkg-config", *options, "tvm_flow")
    (line,), _ = done(*command, PKG_CONFIG_PATH=str(bundle / "lib" / "pkgconfig"))
    return line.split()


def said(lines: Sequence[str]) -> list[str]:
    """What each frame was taken for; the last line counts them."""
    *each, last = lines
    (count,) = SUMMARY.fullmatch(last).groups()  # type: ignore[union-attr]
    assert [line.split(":")[0] for line in each] == [str(n + 1) for n in range(int(count))]
    return [re.search(r"red|green|blue", line)[0] for line in each]  # type: ignore[index]


@pytest.fixture(scope="module")
def programs(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``classify`` with the static library, and ``camera`` with the shared one."""
    folder = tmp_path_factory.mktemp("programs")
    static = colours / "lib" / "libtvm_flow.a"
    done("gcc", "-std=c11", *STRICT, *pkg_config(colours, "--cflags"), EXAMPLES / "classify.c",
         "-o", folder / "classify", static, "-lpthread", "-ldl", "-lm")  # fmt: skip
    done("g++", "-std=c++17", *STRICT, EXAMPLES / "camera.cc", "-o", folder / "camera",
         *pkg_config(colours, "--cflags", "--libs"))  # fmt: skip
    assert b"libtvm_flow.so" not in (folder / "classify").read_bytes()
    assert b"libtvm_flow.so" in (folder / "camera").read_bytes()
    return {name: folder / name for name in ("classify", "camera")}


@in_c
def test_twenty_lines_of_c(programs: dict[str, Path], colours: Path, tmp_path: Path) -> None:
    picture = tmp_path / "blue.ppm"
    picture.write_bytes(b"P6\n# by hand\n64 48\n255\n" + frames(BLUE))
    (line,), _ = done(programs["classify"], colours, picture)
    assert line.startswith("2 blue ")
    sample = colours / "sample_input.npy"
    (line,), _ = done(programs["classify"], colours, sample)
    (other,), _ = done(sys.executable, EXAMPLES / "foreign.py", colours, sample)
    assert line.split()[0] == other.split()[0]


@in_c
def test_what_goes_wrong_is_one_sentence_and_a_code(
    programs: dict[str, Path], colours: Path, tmp_path: Path
) -> None:
    classify, sample = programs["classify"], colours / "sample_input.npy"
    short = tmp_path / "short.bin"
    short.write_bytes(bytes(5))
    for arguments, code in (
        ((tmp_path, sample), 7), ((colours, tmp_path / "no.npy"), 2), ((colours, short), 2)
    ):  # fmt: skip
        lines, error = done(classify, *arguments, code=code)
        assert lines == []
        assert error.startswith("error: ")
        assert ". Fix: " in error
        assert error.count("\n") == 1
    with Path("/dev/full").open("wb") as full:
        told = subprocess.run((classify, colours, sample), stdout=full, check=False)
    assert told.returncode == 74


@in_c
@pytest.mark.parametrize(
    ("pixels", "data"),
    [
        ((), frames(RED, GREEN)),
        (("bgr24",), frames(RED[::-1], GREEN[::-1])),
        # ITU-R BT.601, as cameras have it
        (("yuyv422",), bytes([82, 90, 82, 240]) * 1536 + bytes([145, 54, 145, 34]) * 1536),
    ],
    ids=["rgb24", "bgr24", "yuyv422"],
)
def test_frames_from_a_pipe(
    pixels: tuple[str, ...], data: bytes, programs: dict[str, Path], colours: Path
) -> None:
    """Two, and a third that is cut off."""
    command = (programs["camera"], colours, str(WIDTH), str(HEIGHT), *pixels)
    lines, error = done(*command, data=data)
    assert said(lines) == ["red", "green"]
    assert error == ""
    lines, error = done(*command, data=data + b"some more")
    assert said(lines) == ["red", "green"]
    assert "the last frame is left out: it ends after 9 of " in error
    lines, _ = done(*command)
    assert said(lines) == []


@in_c
@pytest.mark.parametrize("caught", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_loop_while_it_waits(
    caught: signal.Signals, programs: dict[str, Path], colours: Path
) -> None:
    command = (programs["camera"], colours, str(WIDTH), str(HEIGHT))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frames(GREEN) + b"half of")
        process.stdin.flush()
        first = process.stdout.readline()
        process.send_signal(caught)
        lines = process.stdout.read()
        assert said((first + lines).decode().splitlines()) == ["green"]
        assert process.wait(30) == 0


@in_c
def test_a_camera_of_linux(programs: dict[str, Path], colours: Path, tmp_path: Path) -> None:
    """Rows with a gap after them, a frame that the camera calls damaged, and Ctrl-C."""
    fake = tmp_path / "fake_camera.so"
    done("gcc", "-shared", "-fPIC", "-O1", Path(__file__).with_name("fake_camera.c"), "-o", fake)
    for stride in (2 * WIDTH, 2 * WIDTH + 24):
        lines, error = done(
            programs["camera"], colours, str(WIDTH), str(HEIGHT), "/dev/video-test",
            LD_PRELOAD=str(fake), FAKE_STRIDE=str(stride),
        )  # fmt: skip
        assert error == ""
        assert said(lines) == ["red", "green"]
    _, error = done(
        programs["camera"], colours, "1280", "720", "/dev/video-test", code=1,
        LD_PRELOAD=str(fake), FAKE_STRIDE="2000",
    )  # fmt: skip
    assert "gives frames of 1000 x 720 only" in error


@in_c
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("64", "usage: camera BUNDLE WIDTH HEIGHT"),
        ("64 48x", "'48x' is no width or height"),
        ("0 48", "'0' is no width or height"),
        ("64 48 gray", "unknown pixels: gray"),
        ("63 48 yuyv422", "an even width"),
        ("64 48 /dev/none", "cannot open /dev/none: No such file"),
    ],
)
def test_what_the_loop_refuses(
    arguments: str, message: str, programs: dict[str, Path], colours: Path
) -> None:
    lines, error = done(programs["camera"], colours, *arguments.split(), code=1)
    assert lines == []
    assert error.startswith("error: ")
    assert message in error


@in_c
def test_cmake_finds_both_libraries(colours: Path, tmp_path: Path) -> None:
    """In a copy of the bundle, which knows nothing of where it was written."""
    bundle, build = tmp_path / "my bundle", tmp_path / "build"
    shutil.copytree(colours, bundle)
    done("cmake", "-S", EXAMPLES, "-B", build, f"-DCMAKE_PREFIX_PATH={bundle}",
         "-DCMAKE_BUILD_TYPE=Debug")  # fmt: skip
    done("cmake", "--build", build)
    (line,), _ = done(build / "classify", bundle, bundle / "sample_input.npy")
    assert re.match(r"\d (red|green|blue) ", line)
    command = (build / "camera", bundle, str(WIDTH), str(HEIGHT))
    assert said(done(*command, data=frames(BLUE, RED))[0]) == ["blue", "red"]
    assert b"libtvm_flow.so" in (build / "camera").read_bytes()
    assert b"libtvm_flow.so" not in (build / "classify").read_bytes()


@pytest.mark.parametrize("example", ["loop.py WIDTHxHEIGHT", "loop_plain.py WIDTH HEIGHT"])
def test_loops_in_python(example: str, colours: Path, tmp_path: Path) -> None:
    name, *sizes = example.replace("WIDTH", str(WIDTH)).replace("HEIGHT", str(HEIGHT)).split()
    folder = tmp_path
    if name == "loop_plain.py":
        (folder / "numpy.py").write_text("raise ImportError('there is no NumPy here')\n")
    command = (sys.executable, EXAMPLES / name, colours, *sizes)
    lines, _ = done(*command, data=frames(RED, BLUE) + b"cut", PYTHONPATH=str(folder))
    assert said(lines) == ["red", "blue"]
    (folder / "lib").mkdir()
    command = (sys.executable, EXAMPLES / name, folder, *sizes)
    _, error = done(*command, code=1, PYTHONPATH=f"{folder}:{colours / 'python'}")
    assert error.startswith("error: ")
    assert "Traceback" not in error


def test_ctypes_from_elsewhere(colours: Path, tmp_path: Path) -> None:
    """Where no tvm_flow can be imported."""
    command = (sys.executable, "-I", "-S", EXAMPLES / "foreign.py", colours)
    picture = tmp_path / "green.ppm"
    picture.write_bytes(b"P6 64 48 255\n" + frames(GREEN))
    (line,), _ = done(*command, picture)
    assert line.split()[0] == "1"
    _, error = done(*command, tmp_path / "none.npy", code=1)
    assert error.startswith("error: ")
