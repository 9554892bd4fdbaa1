"""Write a bundle: library, manifest, sample, runners; whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.target import codegen

from tvm_flow.backends import Backend, backend_of
from tvm_flow.boards import deploy
from tvm_flow.boards.server_build import FLAGS
from tvm_flow.codegen.constants import write_weights
from tvm_flow.codegen.executable import CompiledModule
from tvm_flow.ir.lowered import Lowered
from tvm_flow.runtime import machine, manifest, verify
from tvm_flow.runtime.bundle import LABELS, Bundle, load
from tvm_flow.runtime.sample import CheckReport, check, run_image
from tvm_flow.runtime.weights import NAME as WEIGHTS
from tvm_flow.support.errors import UsageError
from tvm_flow.support.publish import refuse_foreign, replaced
from tvm_flow.support.resources import package_file
from tvm_flow.support.version import __version__
from tvm_flow.targets import Board

__all__ = ["Bundle", "CheckReport", "check", "load", "run_image", "write_bundle"]

Array = NDArray[np.float32]
SAMPLE, SAMPLE_RAW = "sample_input.npy", "sample_input.bin"


def write_bundle(
    lowered: Lowered,
    out_dir: Path | str,
    *,
    sample_input: Array,
    expected: Sequence[Array],
    tolerance: float = 1e-4,
    labels: Sequence[str] | None = None,
    runner: bool = False,
    accept: Callable[[Path], None] | None = None,
) -> Path:
    """Compile ``lowered`` and write everything needed to run it elsewhere.

    Parameters
    ----------
    out_dir: directory to create. An existing bundle there is replaced in one step once the new
        one is complete; any other non-empty directory is refused.
    sample_input, expected: an input of the network and PyTorch's outputs for it; stored, so that
        ``check`` works on the target without PyTorch.
    tolerance: largest accepted ``max_rel_error`` on the sample.
    labels: class names, one per output.
    runner: include the C++ runner for the board, TVM's runtime libraries and an installer.
    accept: called with the complete bundle before it appears at ``out_dir``; what it raises
        passes through, and ``out_dir`` stays as it was.

    Returns the bundle's path. Raises :class:`UsageError` for ``out_dir`` or a sample of the wrong
    shape, and :class:`CompileError` where it cannot be built or written; the old bundle is then
    untouched.
    """
    target = Path(out_dir).absolute()
    refuse_foreign(target, "bundle", manifest.is_bundle)
    _require_sample(lowered, sample_input, expected)
    backend = backend_of(lowered.device)
    built = backend.compile(lowered)
    with replaced(target, "bundle") as staging:
        _save_sample(staging, sample_input, expected)
        _fill(staging, built, lowered, backend, labels, runner)
        document = _document(staging, built, lowered, backend, tolerance)
        (staging / manifest.NAME).write_text(manifest.seal(document), encoding="utf-8")
        if accept is not None:
            accept(staging)
    return target


def _require_sample(lowered: Lowered, sample: Array, expected: Sequence[Array]) -> None:
    outputs = [
        ("expected output", array, info)
        for array, info in zip(expected, lowered.outputs, strict=True)
    ]
    for what, array, info in [("sample input", sample, lowered.inputs[0]), *outputs]:
        if array.shape != info.shape or array.dtype != info.dtype:
            raise UsageError(
                f"the {what} is {array.shape} {array.dtype}, the network's {info.name} is "
                f"{info.shape} {info.dtype}",
                fix="trace the model with the sample's shape",
            )
        if not np.isfinite(array).all():
            raise UsageError(f"the {what} contains NaN or infinity", fix="use another sample")


def _save_sample(directory: Path, sample: Array, expected: Sequence[Array]) -> None:
    np.save(directory / SAMPLE, np.ascontiguousarray(sample))
    np.ascontiguousarray(sample).tofile(directory / SAMPLE_RAW)
    for name, array in zip(_expected_names(len(expected)), expected, strict=True):
        np.save(directory / name, np.ascontiguousarray(array))


def _expected_names(outputs: int) -> list[str]:
    return ["sample_expected.npy", *(f"sample_expected_{n}.npy" for n in range(2, outputs + 1))]


def _fill(
    directory: Path,
    built: CompiledModule,
    lowered: Lowered,
    backend: Backend,
    labels: Sequence[str] | None,
    runner: bool,
) -> None:
    """Every file but the sample and the manifest."""
    backend.export(built, directory / verify.LIBRARY, lowered.board)
    deploy.require_glibc(directory / verify.LIBRARY, lowered.board)
    if runner:
        deploy.add_runner(directory, lowered.board)
    if labels is not None:
        (directory / LABELS).write_text("\n".join(labels) + "\n", encoding="utf-8")
    for name in ("run.py", *deploy.SOURCES):
        shutil.copyfile(package_file("runtime", name), directory / name)
    readme, cpp = (
        package_file("runtime", name).read_text(encoding="utf-8")
        for name in ("README.md.in", "README.ready.in" if runner else "README.build.in")
    )
    text = readme.format(
        model=lowered.model_name,
        board=lowered.board.title,
        tvm=metadata.version("apache-tvm"),
        ffi=metadata.version("apache-tvm-ffi"),
        cpp=cpp.format(build=_cpp_command(lowered)),
    )
    (directory / "README.md").write_text(text, encoding="utf-8")
    package = directory / "python" / "tvm_flow"
    (package / "runtime").mkdir(parents=True)
    (package / "__init__.py").write_text('"""The part of tvm-flow that runs a bundle."""\n')
    (package / "support").mkdir()
    for name in ("__init__.py", "errors.py"):
        shutil.copyfile(package_file("support", name), package / "support" / name)
    for source in sorted(package_file("runtime").glob("*.py")):
        if source.name != "run.py":
            shutil.copyfile(source, package / "runtime" / source.name)


def _cpp_command(lowered: Lowered) -> str:
    """The command that builds the C++ runner for the board, to be run inside the bundle."""
    triple = f"{lowered.board.mtriple}.{lowered.board.glibc_floor}"
    return (
        f"python -m ziglang c++ -target {triple} -O2 -std=c++17 -s {' '.join(FLAGS)} "
        "runner.cc -o runner "
        "$(tvm-ffi-config --cxxflags) -L lib -Wl,--no-as-needed -ltvm_runtime -ltvm_ffi "
        "-Wl,-rpath,'$ORIGIN/lib'"
    )


def _target(
    directory: Path, built: CompiledModule, board: Board, backend: Backend
) -> dict[str, Any]:
    """What the machine must be, checked before the library is loaded."""
    features = codegen.llvm_get_cpu_features(built.target)
    return {
        "board": board.name,
        "device": backend.kind,
        "arch": board.arch,
        "elf_machine": verify.elf_machine(directory / verify.LIBRARY),
        "mcpu": board.mcpu,
        "glibc_floor": board.glibc_floor,
        "cpu_features": sorted(features & machine.CHECKED_FEATURES),
        "cores": list(board.cores),
        "threads": board.threads,
        "alignment": board.alignment,
        "peak_gflops": [backend.peak_gflops(board, n + 1) for n in range(len(board.cores))],
        "tvm": board.tvm_target(),
    }


def _document(
    directory: Path, built: CompiledModule, lowered: Lowered, backend: Backend, tolerance: float
) -> dict[str, Any]:
    """The manifest, without its own hash; writes the weights it tells the places of."""
    weights = write_weights(directory / WEIGHTS, built.weights)
    return {
        "format": manifest.FORMAT,
        "schema": manifest.SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": lowered.model_name,
        "layout": lowered.layout,
        "inputs": [asdict(info) for info in lowered.inputs],
        "outputs": [asdict(info) for info in lowered.outputs],
        "target": _target(directory, built, lowered.board, backend),
        "versions": {
            "tvm": metadata.version("apache-tvm"),
            "tvm_ffi": metadata.version("apache-tvm-ffi"),
            "tvm_flow": __version__,
        },
        "macs": lowered.macs,
        "kernels": [asdict(kernel) for kernel in lowered.kernels],
        "calls": [asdict(call) for call in built.calls],
        "memory": asdict(built.memory),
        "weights": weights,
        "sample": {
            "input": SAMPLE,
            "expected": _expected_names(len(lowered.outputs)),
            "tolerance": tolerance,
        },
        "cpp_build": _cpp_command(lowered),
        "files": {
            str(path.relative_to(directory)): verify.fingerprint(path)
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        },
    }
