"""What a process that runs a bundle has in memory besides the network."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.bundle.networks import reseal
from tvm_flow.bundle.write import check, load
from tvm_flow.report.profile import profile
from tvm_flow.runtime import digests
from tvm_flow.support.errors import BundleError

# Each with what it imports in turn takes a third of a megabyte or more, hashlib (OpenSSL) 3.6.
HEAVY = {
    "argparse", "dataclasses", "hashlib", "_hashlib", "importlib.metadata", "logging", "pathlib",
    "PIL", "ssl", "subprocess", "torch", "tvm", "tvm_ffi", "urllib.parse", "zipfile",
    "tvm_flow.runtime.inputs", "tvm_flow.runtime.sample", "tvm_flow.runtime.stats",
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
(spec,) = network.manifest.inputs
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
    """Above a process with the interpreter, NumPy and TVM's runtime. The network is tiny; OpenSSL
    alone would be more than this."""
    memory = profile(pristine, runs=1, memory=True).memory
    assert memory is not None
    assert memory.peak_rss < memory.baseline_rss + 3 * 2**20


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200000])
def test_digests_are_those_of_hashlib(tmp_path: Path, size: int) -> None:
    content = (bytes(range(251)) * 1000)[:size]
    (tmp_path / "file").write_bytes(content)
    blake2b = hashlib.blake2b(content, digest_size=32).hexdigest()
    assert digests.of_file(tmp_path / "file", digests.BLAKE2B) == blake2b
    sha256 = hashlib.sha256(content).hexdigest()
    assert digests.of_file(tmp_path / "file", digests.SHA256) == sha256
    assert digests.sha256(content) == sha256


def test_an_interpreter_without_hashes_of_its_own(
    monkeypatch: pytest.MonkeyPatch, copied: Path
) -> None:
    for name in ("_blake2", "_sha2", "_sha256"):
        monkeypatch.setitem(sys.modules, name, None)
    check(copied)
    (copied / "weights.bin").write_bytes(bytes((copied / "weights.bin").stat().st_size))
    with pytest.raises(BundleError, match=r"weights\.bin does not have the sha256"):
        load(copied)


def test_bundles_of_earlier_versions_have_only_sha256(copied: Path) -> None:
    def drop(data: dict[str, dict[str, dict[str, str]]]) -> None:
        for entry in data["files"].values():
            del entry["blake2b"]

    reseal(copied, drop)
    check(copied)
    path = copied / "weights.bin"
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"weights\.bin does not have the sha256"):
        load(copied)
