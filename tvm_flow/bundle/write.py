"""Write a bundle: code, plan, weights, sample, runtime; whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.target import codegen

from tvm_flow.backends import Backend, backend_of
from tvm_flow.boards import deploy
from tvm_flow.bundle.plan_file import NAME as PLAN
from tvm_flow.bundle.plan_file import FileStamp, PlanHeader, plan_bytes
from tvm_flow.codegen.constants import write_weights
from tvm_flow.codegen.library import CompiledLibrary
from tvm_flow.ir.lowered import Lowered
from tvm_flow.ir.picture import PictureRecipe
from tvm_flow.runtime.bundle import sample_name
from tvm_flow.support import elf_header, manifest
from tvm_flow.support.errors import UsageError
from tvm_flow.support.publish import refuse_foreign, replaced
from tvm_flow.support.version import __version__
from tvm_flow.toolchain.checksum import checksum

Array = NDArray[Any]
#: What is known of the kernels, as it goes into the manifest: called with the network, what was
#: compiled of it, and the plan's header.
Prove = Callable[[Lowered, CompiledLibrary, PlanHeader], dict[str, Any]]
LIBRARY, WEIGHTS, LABELS = "model.so", "weights.bin", "labels.txt"
#: LLVM's names of the instructions that the runtime looks for before it runs code that has them:
#: those of the tables in ``runtime/c/machine.c``.
CHECKED_FEATURES = frozenset(
    {
        "sse4.1", "sse4.2", "avx", "avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512cd",
        "avx512dq", "avx512vl", "avx512vnni", "avx512bf16", "avxvnni",
        "neon", "lse", "fullfp16", "dotprod", "sve", "sve2", "i8mm", "bf16",
    }
)  # fmt: skip


@dataclass(frozen=True)
class BundleOptions:
    """``tolerance``: largest accepted ``max_rel_error`` on the sample. ``labels``: class names, one
    per output. ``picture``: how a picture becomes the first input. ``runner``: include the program
    that runs it on the command line, and an installer. ``libc``: what it is linked for, ``"musl"``
    or the oldest version of glibc; by default the board's. ``reference``: who says what is
    expected of the sample."""

    tolerance: float = 1e-4
    labels: Sequence[str] | None = None
    picture: PictureRecipe | None = None
    runner: bool = True
    libc: str | None = None
    reference: str = "PyTorch"


def write_bundle(
    lowered: Lowered,
    out_dir: Path | str,
    *,
    sample: Sequence[Array],
    expected: Sequence[Array],
    options: BundleOptions | None = None,
    accept: Callable[[Path, Path], None] | None = None,
    prove: Prove | None = None,
) -> Path:
    """Compile ``lowered`` and write everything needed to run it elsewhere.

    Parameters
    ----------
    out_dir: directory to create. An existing bundle there is replaced in one step once the new
        one is complete; any other non-empty directory is refused.
    sample, expected: inputs of the network and the reference's outputs for them; stored, so that
        ``check`` works on the target without PyTorch.
    accept: called with the complete bundle, and again with it as the place of the sample, before
        it appears at ``out_dir``; what it raises passes through, and ``out_dir`` stays as it was.
    prove: called before the manifest is written, see :data:`Prove`; what it raises passes through.

    Returns the bundle's path. Raises :class:`UsageError` for ``out_dir`` or a sample of the wrong
    shape, and :class:`CompileError` where it cannot be built or written; the old bundle is then
    untouched.
    """
    target = Path(out_dir).absolute()
    refuse_foreign(target, "bundle", manifest.is_bundle)
    with replaced(target, "bundle") as staging:
        fill_bundle(staging, lowered, sample, expected, options or BundleOptions(), prove)
        if accept is not None:
            accept(staging, staging)
    return target


def fill_bundle(
    folder: Path,
    lowered: Lowered,
    sample: Sequence[Array],
    expected: Sequence[Array],
    options: BundleOptions,
    prove: Prove | None = None,
) -> CompiledLibrary:
    """Compile ``lowered`` into a bundle in the empty ``folder``; what it was made from. Raises as
    :func:`write_bundle`."""
    _require_sample(lowered, sample, expected)
    backend = backend_of(lowered.device)
    built = backend.compile(lowered)
    _Writer(folder, lowered, built, backend, options).write(sample, expected, prove)
    return built


def _require_sample(lowered: Lowered, sample: Sequence[Array], expected: Sequence[Array]) -> None:
    given = zip(sample, lowered.inputs, strict=True)
    wanted = zip(expected, lowered.outputs, strict=True)
    for what, array, info in [
        *(("sample input", *pair) for pair in given),
        *(("expected output", *pair) for pair in wanted),
    ]:
        if array.shape != info.shape or array.dtype != info.dtype:
            raise UsageError(
                f"the {what} is {array.shape} {array.dtype}, the network's {info.name} is "
                f"{info.shape} {info.dtype}",
                fix="trace the model with the sample's shape",
            )
        if what == "sample input" and not np.isfinite(array).all():
            raise UsageError(f"the {what} contains NaN or infinity", fix="use another sample")


def sample_names(what: str, count: int) -> list[str]:
    """File names of the sample's tensors: ``what`` is ``input`` or ``expected``."""
    return [sample_name(index, what) for index in range(count)]


@dataclass(frozen=True)
class _Writer:
    directory: Path
    lowered: Lowered
    built: CompiledLibrary
    backend: Backend[Any]
    options: BundleOptions

    def write(
        self, sample: Sequence[Array], expected: Sequence[Array], prove: Prove | None
    ) -> None:
        board, libc = self.lowered.board, self.options.libc or self.lowered.board.glibc_floor
        for what, arrays in (("input", sample), ("expected", expected)):
            for name, array in zip(sample_names(what, len(arrays)), arrays, strict=True):
                np.save(self.directory / name, np.asarray(array, order="C"))
        library = self.directory / LIBRARY
        self.backend.export(self.built, library, board, libc)
        deploy.require_libc(library, board.name, libc)
        write_weights(self.directory / WEIGHTS, self.built.weights)
        (self.directory / PLAN).write_bytes(self._plan())
        if self.options.labels is not None:
            text = "\n".join(self.options.labels) + "\n"
            (self.directory / LABELS).write_text(text, encoding="utf-8")
        deploy.add_runtime(
            self.directory, board, libc, model=self.lowered.model_name, runner=self.options.runner
        )
        verified = prove(self.lowered, self.built, self._header()) if prove else {}
        document = manifest.seal(self._document(libc) | {"verified": verified})
        (self.directory / manifest.NAME).write_text(document, encoding="utf-8")

    def _features(self) -> list[str]:
        return sorted(codegen.llvm_get_cpu_features(self.built.target) & CHECKED_FEATURES)

    def _header(self) -> PlanHeader:
        lowered, board = self.lowered, self.lowered.board
        library = self.directory / LIBRARY
        return PlanHeader(
            model=lowered.model_name,
            board=board.name,
            version=__version__,
            elf_machine=elf_header.machine_of(library),
            features=tuple(self._features()),
            threads=board.threads,
            cores=board.cores,
            alignment=board.alignment,
            code=file_stamp(library),
            weights=file_stamp(self.directory / WEIGHTS),
            tolerance=self.options.tolerance,
        )

    def _plan(self) -> bytes:
        lowered, picture = self.lowered, self.options.picture
        return plan_bytes(
            self._header(),
            self.built.plan,
            lowered.inputs,
            lowered.outputs,
            layout=lowered.layout,
            pictures=[] if picture is None else [(0, picture)],
            labels=self.options.labels or (),
            checksum=checksum,
        )

    def _target(self, libc: str) -> dict[str, Any]:
        """The machine it is for."""
        board, peak = self.lowered.board, self.backend.peak_gflops
        return {
            "board": board.name,
            "device": self.backend.kind,
            "arch": board.arch,
            "mcpu": board.mcpu,
            "libc": libc,
            "cpu_features": self._features(),
            "cores": list(board.cores),
            "threads": board.threads,
            "alignment": board.alignment,
            "peak_gflops": [peak(board, n + 1) for n in range(len(board.cores))],
            "tvm": board.tvm_target(),
        }

    def _document(self, libc: str) -> dict[str, Any]:
        """The manifest, without its own hash."""
        lowered, plan, picture = self.lowered, self.built.plan, self.options.picture
        return {
            "format": manifest.FORMAT,
            "schema": manifest.SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": lowered.model_name,
            "layout": lowered.layout,
            "inputs": [asdict(info) for info in lowered.inputs],
            "outputs": [asdict(info) for info in lowered.outputs],
            "picture": None if picture is None else asdict(picture),
            "target": self._target(libc),
            "versions": {"tvm": metadata.version("apache-tvm"), "tvm_flow": __version__},
            "macs": lowered.macs,
            "kernels": [asdict(kernel) for kernel in lowered.kernels],
            "generic": [asdict(operator) for operator in lowered.generic],
            "calls": [
                {
                    "symbol": "copy" if step.kernel is None else plan.kernels[step.kernel].symbol,
                    "argument_bytes": sum(plan.tensors[n].bytes for n in step.arguments),
                }
                for step in plan.steps
            ],
            "memory": {
                "arena": plan.arena,
                "unshared": plan.unshared,
                "weights": plan.weights,
            },
            "sample": {
                "inputs": sample_names("input", len(lowered.inputs)),
                "expected": sample_names("expected", len(lowered.outputs)),
                "tolerance": self.options.tolerance,
                "reference": self.options.reference,
            },
            "files": {
                str(path.relative_to(self.directory)): manifest.fingerprint(path)
                for path in sorted(self.directory.rglob("*"))
                if path.is_file()
            },
        }


def file_stamp(path: Path) -> FileStamp:
    """Size and checksum of a file."""
    content = path.read_bytes()
    return FileStamp(len(content), checksum(content))
