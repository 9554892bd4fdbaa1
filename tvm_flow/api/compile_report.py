"""What compiling hands back."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_flow.ir.picture import PictureRecipe

if TYPE_CHECKING:
    from tvm_flow.api.check import CheckReport
    from tvm_flow.api.proof import SamplesReport
    from tvm_flow.bundle.kernel_check import KernelCheck
    from tvm_flow.verify.network import VerifiedGraph


@dataclass(frozen=True)
class CompileReport(os.PathLike[str]):
    """A bundle that was written; usable wherever its path is.

    ``kernels``: distinct kernels of the network, ``tuned`` of them built from a tuning record
    found in ``records`` or in ``committed_records`` (those installed with tvm-flow; ``None`` in a
    checkout, and where other records are named), the others with the default schedule.
    ``graph``: the network's graph, which was held against the model before any code was made.
    ``verified``: the self-check made before the bundle was put in place, ``None`` where this
    machine cannot run it; ``samples``: of other inputs, where it was run;
    ``foreign_kernels``: what is known of its kernels then.
    ``reference``: who says what is right, such as PyTorch.
    ``picture``: how pictures become the input, ``None`` where it holds none.
    ``notes``: remarks for the user, one line each. ``macs``:
    multiply-accumulates of one run. Sizes are in bytes: of the library, of the runtime in a bundle
    (libraries, header, Python package, program; 0 for a single file), of all files.
    ``seconds``: what compiling took, loading the model excluded; ``verifying``: of that, comparing
    with the model, without what :attr:`foreign_kernels` took.
    """

    path: Path
    model: str
    target: str
    threads: int
    layout: str
    kernels: int
    tuned: int
    records: Path
    committed_records: Path | None
    graph: VerifiedGraph
    verified: CheckReport | None
    samples: SamplesReport | None
    reference: str
    foreign_kernels: KernelCheck | None
    picture: PictureRecipe | None
    macs: int
    library_bytes: int
    runtime_bytes: int
    total_bytes: int
    seconds: float
    verifying: float
    notes: tuple[str, ...]

    def __fspath__(self) -> str:
        return str(self.path)

    def to_json(self) -> dict[str, Any]:
        """All fields as plain data; ``max_rel_error`` and ``tolerance`` are those of the check."""
        check = self.verified
        return {
            "path": str(self.path),
            "model": self.model,
            "target": self.target,
            "threads": self.threads,
            "layout": self.layout,
            "kernels": self.kernels,
            "tuned": self.tuned,
            "records": str(self.records),
            "committed_records": str(self.committed_records) if self.committed_records else None,
            "graph_places": self.graph.places,
            "graph_seconds": self.graph.seconds,
            "verified": check is not None,
            "rounding": check.remark if check else "",
            "samples": asdict(self.samples) if self.samples else None,
            "reference": self.reference,
            "foreign_kernels": self.foreign_kernels.to_json() if self.foreign_kernels else None,
            "max_rel_error": check.max_rel_error if check else None,
            "tolerance": check.tolerance if check else None,
            "picture": asdict(self.picture) if self.picture else None,
            "macs": self.macs,
            "library_bytes": self.library_bytes,
            "runtime_bytes": self.runtime_bytes,
            "total_bytes": self.total_bytes,
            "seconds": self.seconds,
            "verifying_seconds": self.verifying,
            "notes": list(self.notes),
        }
