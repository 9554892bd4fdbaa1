"""Every command of the README runs as it stands there, in order, in one directory.

A block is left out only with ``<!-- not run: reason -->`` before it. Blocks that compile, tune or
measure are left to ``make test-slow``: the same verbs on a smaller model are tested beside this.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn.datasets

from tests.cli.conftest import ROOT, SCRIPT, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?P<left_out><!-- not run: [^\n]+ -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)```",
    re.S,
)


def commands(text: str) -> list[str]:
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


TIMEOUT_S = 900
BLOCKS = list(BLOCK.finditer(README))
CONSOLE = [
    block["text"] for block in BLOCKS if block["kind"] == "console" and not block["left_out"]
]
QUICK = ("doctor", "models", "targets")
#: What is written by a command of an earlier block, and by which.
MADE_BY = {
    found[1]: command
    for block in CONSOLE
    for command in commands(block)
    if (found := re.search(r" -o (\S+)", command))
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory like the checkout's, with a photograph."""
    made = tmp_path_factory.mktemp("readme")
    (made / "examples").symlink_to(ROOT / "examples")
    images = Path(sklearn.datasets.__file__).parent / "images"
    shutil.copyfile(images / "flower.jpg", made / "photo.jpg")
    return made


def run(command: str, folder: Path) -> str:
    path = f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S,
        check=False,
        env=environment(PATH=path),
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def prepare(command: str, folder: Path) -> None:
    """Make what the command reads, where the block that writes it is another shard's."""
    for word in command.split():
        if MADE_BY.get(word, command) != command and not (folder / word).exists():
            run(MADE_BY[word], folder)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(
            block,
            marks=[] if all(c.split()[1] in QUICK for c in commands(block)) else [pytest.mark.slow],
            id=commands(block)[0],
        )
        for block in CONSOLE
    ],
)
@pytest.mark.timeout(TIMEOUT_S)
def test_console_block(block: str, folder: Path) -> None:
    for command in commands(block):
        prepare(command, folder)
        assert run(command, folder).strip(), f"{command} says nothing"


@pytest.mark.slow
def test_python_block(folder: Path) -> None:
    (block,) = [block["text"] for block in BLOCKS if block["kind"] == "python"]
    (folder / "block.py").write_text(block)
    assert "kernels tuned" in run(f"{sys.executable} block.py", folder)


def test_every_verb_has_an_example() -> None:
    typed = " ".join(line for b in BLOCKS if b["kind"] == "console" for line in commands(b["text"]))
    verbs = ("doctor", "targets", "models", "trace", "analyze", "advise", "tune", "compile", "run",
             "check", "compare", "profile", "records show", "records repair", "records promote",
             "records migrate", "demo")  # fmt: skip
    assert [verb for verb in verbs if f"tvm-flow {verb}" not in typed] == []


def test_exit_codes_are_those_of_the_errors() -> None:
    from tvm_flow import cli  # noqa: PLC0415
    from tvm_flow.support import errors  # noqa: PLC0415

    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, Exception)]
    codes = {0, cli.BUG, cli.INTERRUPTED, *(kind.exit_code for kind in kinds)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.M)} == codes


def test_what_is_left_out_is_little() -> None:
    """Exactly these commands are not run here."""
    farm = "192.168.1.10:9190"
    left_out = [c for b in BLOCKS if b["left_out"] for c in commands(b["text"])]
    assert left_out == [
        "make demo", "make test", "tvm-flow tune fasternet_t0 --minutes 10", "tvm-flow demo",
        f"tvm-flow tracker --host {farm.partition(':')[0]}",
        f"tvm-flow boards check raspberry-pi-4 --tracker {farm}",
        f"tvm-flow tune fasternet_t0 --target raspberry-pi-4 --tracker {farm} --threads 4 "
        "--minutes 60",
        f"tvm-flow compare fasternet_t0 --target raspberry-pi-4 --tracker {farm} --threads 4",
        'make demo PIP_ARGS="--extra-index-url $CPU_INDEX"',
    ]  # fmt: skip
