"""What is known of a bundle before it is in place, and what its manifest says of that."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tvm_flow.api.check import CheckReport
from tvm_flow.api.networks import LoadedModel
from tvm_flow.api.sample import Array, bordered
from tvm_flow.api.values import BUNDLE
from tvm_flow.api.verify import verify
from tvm_flow.bundle.kernel_check import KernelCheck, check_kernels
from tvm_flow.bundle.plan_file import PlanHeader
from tvm_flow.codegen.library import CompiledLibrary
from tvm_flow.ir.lowered import Lowered
from tvm_flow.support import manifest
from tvm_flow.support.errors import NumericsError
from tvm_flow.targets import Board
from tvm_flow.toolchain.c_compiler import MUSL
from tvm_flow.verify.rounding import MULTIPLE, SUSPICIOUS, Rounding, float_error, rounding_of
from tvm_flow.verify.samples import Sample, more_samples

#: How a user sees whether the whole runs on another machine.
_HOW = {
    (BUNDLE, True): ": ./install.sh there",
    (BUNDLE, False): ": python3 run.py --check there",
}


@dataclass(frozen=True)
class SamplesReport:
    """``count`` samples beside the bundle's own that were compared; the one ``farthest`` from the
    reference is off by ``max_rel_error``. ``seconds``: what that took, references and all."""

    count: int
    farthest: str
    max_rel_error: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.count} more samples compared in {self.seconds:.1f} s, the worst, "
            f"{self.farthest}, is off by {self.max_rel_error:.1e}"
        )


@dataclass
class Proof:
    """The whole network is run where this machine can, else its kernels are, one by one.

    ``foreign``: why this machine cannot run it. ``rounding``: of a network that fp32 is hard on.
    ``network``, ``samples`` and ``kernels`` are there once they are known. ``seconds``: what all
    but the kernels took.
    """

    loaded: LoadedModel
    layout: str
    format: str
    foreign: str | None
    rounding: Rounding | None = None
    network: CheckReport | None = None
    samples: SamplesReport | None = None
    kernels: KernelCheck | None = None
    seconds: float = 0.0

    def expect(self, error: float, expected: Sequence[Array], tolerance: float) -> float:
        """The tolerance to compare with, where the graph's outputs differ by ``error`` from the
        ``expected`` ones: the given one, unless rounding explains more of it."""
        start = time.perf_counter()
        exact = self.loaded.run_in_double(*self.loaded.sample)
        self.seconds += time.perf_counter() - start
        own = MULTIPLE * float_error(expected, exact) > tolerance if exact else error > SUSPICIOUS
        if own:
            rounding = rounding_of(self.loaded, self.loaded.sample, expected, exact)
            if rounding.allowed > tolerance:
                self.rounding = rounding
                return rounding.allowed * (1 + 1 / MULTIPLE)  # the reference is off as well
        return tolerance

    def before(
        self, lowered: Lowered, built: CompiledLibrary, header: PlanHeader
    ) -> dict[str, Any]:
        """Before the manifest is written; what goes into it."""
        if self.foreign is not None:
            self.kernels = check_kernels(lowered, built, header)
        return self._document()

    def accept(self, made: Path, bundle: Path) -> None:
        """What is there but for its place. Raises as :func:`tvm_flow.api.verify.verify`, and
        :class:`NumericsError` where the result is farther from the exact one than rounding
        explains, or another sample's is wrong."""
        if self.foreign is not None:
            return
        start = time.perf_counter()
        more = more_samples(self.loaded)
        given = [bordered(sample.inputs, self.layout) for sample in more]
        prepared = time.perf_counter() - start
        report, outputs = verify(made, bundle, self.format, given)
        self.network = self._own(report, outputs[0])
        start = time.perf_counter() - prepared
        errors = [
            (self._error(sample, made_of, report.tolerance), sample.name)
            for sample, made_of in zip(more, outputs[1:], strict=True)
        ]
        if errors:
            worst, name = max(errors)
            self.samples = SamplesReport(len(more), name, worst, time.perf_counter() - start)
            self.seconds += self.samples.seconds
        file = bundle / manifest.NAME
        document = manifest.read(bundle).data | {"verified": self._document()}
        file.write_text(manifest.seal(document), encoding="utf-8")

    def notes(self, *, runner: bool) -> list[str]:
        """What is left to do on the machine it is for."""
        if self.foreign is None:
            return []
        how = _HOW.get((self.format, runner), "")
        found = [f"the whole network is not run here, {self.foreign}{how}"]
        if self.rounding:
            own = self.rounding.allowed / MULTIPLE
            found.append(
                f"fp32 is hard on this network: {self.loaded.reference}'s own result is off by "
                f"{own:.1e}"
            )
        return found

    def _own(self, report: CheckReport, made: Sequence[Array]) -> CheckReport:
        """Of the sample that the bundle carries."""
        if self.rounding is None:
            return report
        expected = bordered(self.loaded.expected, self.layout)
        distance = self._rounding(self.rounding).distance(made, expected)
        if distance > self.rounding.allowed:
            raise _wrong("its sample", self.rounding.told(distance))
        return replace(report, remark=self.rounding.told(distance))

    def _error(self, sample: Sample, made: Sequence[Array], tolerance: float) -> float:
        expected = bordered(sample.expected, self.layout)
        error = float_error(made, expected)
        if error <= tolerance:
            return error
        exact = self.loaded.run_in_double(*sample.inputs)
        rounding = self._rounding(rounding_of(self.loaded, sample.inputs, sample.expected, exact))
        distance = rounding.distance(made, expected)
        if distance > max(tolerance, rounding.jumps):
            raise _wrong(sample.name, rounding.told(distance))
        return error

    def _rounding(self, rounding: Rounding) -> Rounding:
        """With the exact outputs as the bundle has them."""
        exact = None if rounding.exact is None else bordered(rounding.exact, self.layout)
        return replace(rounding, exact=exact)

    def _document(self) -> dict[str, Any]:
        return {
            "network": self.foreign is None,
            "max_rel_error": self.network.max_rel_error if self.network else None,
            "rounding": self.network.remark if self.network else "",
            "samples": asdict(self.samples) if self.samples else None,
            "kernels": self.kernels.to_json() if self.kernels else None,
        }


def foreign(board: Board, libc: str | None) -> str | None:
    """Why this machine cannot run what is compiled for ``board`` and ``libc``; ``None`` where it
    can."""
    if board.arch != platform.machine():
        return f"this machine is {platform.machine()}"
    # TVM and PyTorch are made for glibc: so is the system that they run on
    return "this machine's C library is not musl" if libc == MUSL else None


def _wrong(what: str, why: str) -> NumericsError:
    return NumericsError(
        f"the compiled network computes wrong values for {what}",
        why=why,
        fix="compile it with other records (--records), and report it if that does not help",
    )
