"""``check``: is a bundle whole, at home on this machine, and right?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tvm_flow.runtime.bundle import Bundle, load
from tvm_flow.support import manifest


@dataclass(frozen=True)
class CheckReport:
    """Result of re-running the sample a bundle carries. ``remark``: what explains a tolerance that
    is not the usual one, where that is known. ``reference``: who said what is expected; empty in
    bundles of older versions, which do not tell."""

    max_rel_error: float
    tolerance: float
    threads: int
    remark: str = ""
    reference: str = ""

    def __str__(self) -> str:
        text = f"max relative error {self.max_rel_error:.2e} (tolerance {self.tolerance:.0e})"
        return f"{text}; {self.remark}" if self.remark else text


def check(bundle: Bundle | Path | str, *, threads: int | None = None) -> CheckReport:
    """Check every file's hash, run the stored sample and compare with the stored result of the
    reference.

    Raises :class:`BundleError` for a changed file or another machine, :class:`NumericsError` where
    the difference exceeds the stored tolerance, and whatever :func:`tvm_flow.load` raises.
    """
    directory = bundle.directory if isinstance(bundle, Bundle) else bundle
    manifest.verify(directory)
    loaded = bundle if isinstance(bundle, Bundle) else load(bundle, threads=threads)
    reference = manifest.read(directory).data["sample"].get("reference", "")
    return CheckReport(loaded.check(), loaded.tolerance, loaded.threads, reference)
