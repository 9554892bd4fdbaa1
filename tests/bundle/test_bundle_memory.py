"""What a process that runs a bundle has in memory besides the network."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from tvm_flow.report.profile import profile

# Each with what it imports in turn takes a third of a megabyte or more, hashlib (OpenSSL) 3.6.
HEAVY = {
    "argparse", "dataclasses", "hashlib", "_hashlib", "importlib.metadata", "logging", "pathlib",
    "PIL", "json", "ssl", "subprocess", "torch", "tvm", "tvm_ffi", "typing", "urllib.parse",
    "zipfile", "tvm_flow.runtime.cli", "tvm_flow.runtime.classes", "tvm_flow.runtime.pictures",
}  # fmt: skip


def test_running_imports_nothing_heavy(pristine: Path) -> None:
    """Beyond NumPy, and in an interpreter without ``site``: what an installation's ``.pth`` files
    import is not ours."""
    code = """
import sys
bundle, packages = sys.argv[1:]
sys.path[:0] = [bundle + "/python", packages]
import numpy
before = set(sys.modules)
import tvm_flow.runtime
network = tvm_flow.runtime.load(bundle)
(spec,) = network.inputs
network(numpy.zeros(spec.shape, spec.dtype))
print(*set(sys.modules) - before)
"""
    packages = sysconfig.get_path("platlib")
    command = [sys.executable, "-I", "-S", "-c", code, str(pristine), packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert "tvm_flow.runtime.bundle" in imported
    assert not imported & HEAVY


def test_loading_and_running_take_little(pristine: Path) -> None:
    """Above a process with the interpreter, NumPy and the package. The network is tiny."""
    memory = profile(pristine, runs=1, memory=True).memory
    assert memory is not None
    assert memory.peak_rss < memory.baseline_rss + 2 * 2**20
