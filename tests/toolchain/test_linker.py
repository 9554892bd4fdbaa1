"""Linking real kernels, native and cross; every failure is one line and leaves the old file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.target import Target

from tvm_flow import targets
from tvm_flow.boards.server_build import GLIBC
from tvm_flow.support.errors import CompileError, EnvironmentFault, TvmFlowError
from tvm_flow.toolchain import linker
from tvm_flow.toolchain.elf import elf_arch
from tvm_flow.toolchain.linker import Linker, build_cpp, find_linker

NATIVE_ARCH = targets.load("native").arch
OTHER_ARCH = "aarch64" if NATIVE_ARCH == "x86_64" else "x86_64"


def compiled_add(board: str) -> tvm.runtime.Executable:
    """out = a + b on 64 floats, compiled for a board."""
    a = te.placeholder((64,), name="a")
    b = te.placeholder((64,), name="b")
    out = te.compute((64,), lambda i: a[i] + b[i], name="out")
    func = te.create_prim_func([a, b, out]).with_attr("global_symbol", "add")
    return tvm.compile(tvm.IRModule({"add": func}), target=Target(targets.load(board).tvm_target()))


def object_file(board: str, folder: Path) -> Path:
    path = folder / f"{board}.o"
    compiled_add(board).mod.write_to_file(str(path))
    return path


def assert_adds(library: Path) -> None:
    a, b = np.arange(64, dtype="float32"), np.full(64, 0.5, "float32")
    out = tvm.runtime.tensor(np.zeros(64, "float32"))
    tvm.runtime.load_module(str(library))["add"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), out)
    np.testing.assert_array_equal(out.numpy(), a + b)


def one_line(error: pytest.ExceptionInfo[TvmFlowError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert "Fix: " in message
    return message


def test_native_link_and_run(tmp_path: Path) -> None:
    library = find_linker(NATIVE_ARCH).link_shared(
        [object_file("native", tmp_path)], tmp_path / "new" / "add.so"
    )
    assert_adds(library)
    assert [path.name for path in library.parent.iterdir()] == ["add.so"], "temporary files left"


def test_native_through_the_system_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linker, "has_zig", lambda: False)
    try:
        found = find_linker(NATIVE_ARCH)
    except EnvironmentFault:
        pytest.skip("no system linker here")
    assert "ziglang" not in found.command
    assert_adds(found.link_shared([object_file("native", tmp_path)], tmp_path / "add.so"))


def test_export_library_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "add.so"
    compiled_add("native").export_library(str(path), fcompile=find_linker(NATIVE_ARCH).fcompile)
    assert_adds(path)


def test_relax_executable_exports(tmp_path: Path) -> None:
    """A Relax module adds a second object (the packed VM code) to the link."""
    block = tvm.relax.BlockBuilder()
    x = tvm.relax.Var("x", tvm.relax.TensorType((4,), "float32"))
    with block.function("main", [x]):
        with block.dataflow():
            out = block.emit_output(
                block.emit_te(lambda t: te.compute((4,), lambda i: t[i] * 2), x)
            )
        block.emit_func_output(out)
    for board, arch in (("native", NATIVE_ARCH), ("raspberry-pi-4", "aarch64")):
        path = tmp_path / f"{board}.so"
        target = Target(targets.load(board).tvm_target())
        executable = tvm.relax.build(block.get(), target=target)
        executable.export_library(str(path), fcompile=find_linker(arch).fcompile)
        assert elf_arch(path) == arch
    vm = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(tmp_path / "native.so")), tvm.cpu())
    np.testing.assert_array_equal(vm["main"](np.ones(4, "float32")).numpy(), [2, 2, 2, 2])


def test_cross_link_for_cortex_a72(tmp_path: Path) -> None:
    made = object_file("raspberry-pi-4", tmp_path)
    assert elf_arch(made) == "aarch64"
    library = find_linker("aarch64").link_shared([made], tmp_path / "add.so")
    assert library.read_bytes()[18:20] == (183).to_bytes(2, "little")


def test_objects_of_the_wrong_architecture(tmp_path: Path) -> None:
    """The old library stays; the message names both architectures."""
    output = tmp_path / "add.so"
    output.write_text("old")
    with pytest.raises(CompileError) as caught:
        find_linker("x86_64").link_shared([object_file("rk3399", tmp_path)], output)
    assert "for aarch64, not x86_64" in one_line(caught)
    assert output.read_text() == "old"
    assert not list(tmp_path.glob(".add.so*"))


def test_linker_message_is_passed_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken.o"
    broken.write_text("no object at all")
    with pytest.raises(CompileError) as caught:
        find_linker(NATIVE_ARCH).link_shared([broken], tmp_path / "add.so")
    assert "Linking add.so failed: ld.lld: error:" in one_line(caught)


def test_unwritable_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CompileError, match="Cannot write"):
        find_linker(NATIVE_ARCH).link_shared([], tmp_path / "file" / "add.so")


def test_missing_linker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(linker, "has_zig", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault) as caught:
        find_linker(OTHER_ARCH)
    assert f"No linker for {OTHER_ARCH}" in one_line(caught)
    assert f"python -m pip install {linker.ZIG_PIN}" in one_line(caught)
    with pytest.raises(EnvironmentFault):
        build_cpp([], tmp_path / "x", arch=OTHER_ARCH, glibc="2.28")


def test_fallbacks_come_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(linker, "has_zig", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("gcc", f"{NATIVE_ARCH}-linux-gnu-gcc", "ld.lld"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert find_linker(NATIVE_ARCH).command == (str(program),)
    (tmp_path / "ld.lld").unlink()
    with pytest.raises(EnvironmentFault):
        find_linker(OTHER_ARCH)  # a native gcc cannot link for another architecture


def test_explicit_linker() -> None:
    assert find_linker("aarch64", sys.executable) == Linker("aarch64", (sys.executable,))
    with pytest.raises(EnvironmentFault, match="Linker '/no/such/ld' not found"):
        find_linker("aarch64", "/no/such/ld")


def test_pins_agree() -> None:
    locks = list((Path(__file__).parents[2] / "requirements").glob("lock-3.*.txt"))
    assert len(locks) == 3
    assert all(linker.ZIG_PIN in lock.read_text().splitlines() for lock in locks)


@pytest.mark.parametrize("arch", [NATIVE_ARCH, pytest.param(OTHER_ARCH, marks=pytest.mark.slow)])
def test_cpp_program(arch: str, tmp_path: Path) -> None:
    """Seconds, but a minute the first time on a machine: zig builds libc++ for each target. The
    oldest C library is what boards' programs are built for, so it is there by now or soon used."""
    source = tmp_path / "hello.cc"
    source.write_text('#include "n.h"\n#include <cstdio>\nint main() { std::printf("%d", N); }\n')
    (tmp_path / "n.h").write_text("#define N 42\n")
    program = build_cpp(
        [source], tmp_path / "hello", arch=arch, glibc=GLIBC, include_dirs=[tmp_path], libs=["m"],
        lib_dirs=[tmp_path], rpath="$ORIGIN",
    )  # fmt: skip
    assert elf_arch(program) == arch
    assert b"$ORIGIN" in program.read_bytes()
    if arch == NATIVE_ARCH:
        shown = subprocess.run([program], capture_output=True, text=True, check=True)
        assert shown.stdout == "42"


def test_cpp_error_is_one_line(tmp_path: Path) -> None:
    source = tmp_path / "bad.cc"
    source.write_text("int main() { return missing; }\n")
    with pytest.raises(CompileError) as caught:
        build_cpp([source], tmp_path / "bad", arch=NATIVE_ARCH, glibc=GLIBC)
    assert "undeclared identifier 'missing'" in one_line(caught)
    assert not (tmp_path / "bad").exists()
