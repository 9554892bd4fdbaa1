"""TVM's C interface without the package ``tvm_ffi``: values, errors, the library."""

from __future__ import annotations

import subprocess
import sys
import weakref
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi

from tests.bundle.arrays import reference, sample
from tests.bundle.networks import in_threads
from tvm_flow.bundle.write import load
from tvm_flow.runtime import c_api, ffi, library, verify
from tvm_flow.support.errors import BundleError, EnvironmentFault

ROOT = Path(__file__).parents[2]


def echo() -> ffi.Function:
    return ffi.global_function("testing.echo")


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, 7, -(2**40), "", "short", "seven77", "eight888", "a\0b", "Größe\0" * 99,
     (), (1, "two", None), ("a", ("b", ("c", -3)))],
)  # fmt: skip
def test_values_come_back(value: object) -> None:
    answer = echo()(value)
    assert answer == value
    assert type(answer) is type(value)


@pytest.mark.parametrize(
    "dtype", ["float32", "int64", "float64", "float16", "int32", "int8", "uint8", "bool"]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 3), (2, 1, 3, 1, 2)])
def test_arrays_are_neither_copied_nor_changed(dtype: str, shape: tuple[int, ...]) -> None:
    given = np.asarray(np.random.default_rng(0).standard_normal(shape) * 9).astype(dtype)
    answer = echo()(given)
    np.testing.assert_array_equal(answer, given)
    assert (answer.dtype, answer.shape) == (given.dtype, given.shape)
    assert answer.flags.writeable
    assert not given.size or np.shares_memory(answer, given)


def test_a_tensor_that_starts_inside_its_memory(from_python: Any) -> None:
    whole = np.arange(32, dtype=np.float32)
    part = tvm.runtime.tensor(whole)._create_view((2, 8), relative_byte_offset=4 * 8)
    np.testing.assert_array_equal(from_python(lambda: part)(), whole[8:24].reshape(2, 8))


def test_types_that_do_not_cross() -> None:
    for value in (1.5, b"bytes", object(), {"a": 1}):
        with pytest.raises(TypeError, match="TVM takes no"):
            echo()(value)
    given = np.ones(3, np.complex64)  # has a place in DLPack, not in a network
    gone = weakref.ref(given)
    with pytest.raises(TypeError, match="tensor of type"):
        echo()(given)
    del given
    assert gone() is None


def test_results_that_nothing_here_has_a_use_for(from_python: Any) -> None:
    with pytest.raises(TypeError, match="value of type"):
        from_python(lambda: 1.5)()
    with pytest.raises(TypeError, match="object of type"):
        from_python(lambda: tvm_ffi.Shape((1, 2)))()


def test_errors_have_kind_and_message(from_python: Any, tmp_path: Path) -> None:
    def fail() -> None:
        raise IndexError("größer\nthan 7")

    function = from_python(fail)
    for _ in range(2):
        with pytest.raises(ffi.TvmError) as caught:
            function()
        assert (caught.value.kind, str(caught.value)) == ("IndexError", "größer\nthan 7")
    with pytest.raises(ffi.TvmError, match="no function tests"):
        ffi.global_function("tests.none")
    with pytest.raises(ffi.TvmError, match=r"none\.so"):
        ffi.load_module(tmp_path / "none.so")


def test_a_network_reports_its_errors(pristine: Path) -> None:
    bundle = load(pristine)
    with pytest.raises(AttributeError, match="no function absent"):
        bundle.program.library.get_function("absent")
    with pytest.raises(ffi.TvmError):
        bundle.program.main()
    with pytest.raises(ffi.TvmError, match="16"):
        bundle.program.main(np.zeros((1, 3, 8, 8), np.float32))
    np.testing.assert_allclose(bundle(sample()), reference(sample()), rtol=1e-4)


def test_a_library_without_a_network(pristine: Path) -> None:
    with pytest.raises(BundleError, match="cannot load") as caught:
        library.open_program(Path(tvm_ffi.LIB._name), [])
    assert "\n" not in str(caught.value)


def test_threads_call_at_the_same_time() -> None:
    call = echo().bound([np.arange(64), "text"])

    def work() -> None:
        for _ in range(1000):
            array, text = call()
            assert text == "text"
            assert array[63] == 63

    in_threads(4, work)


def _python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_a_bundle_runs_without_the_packages_of_tvm(pristine: Path) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1] + "/python")
import tvm_flow.runtime as runtime
bundle = runtime.load(sys.argv[1])
runtime.check(bundle)
names = ["tvm", "tvm_ffi", "torch", "importlib.metadata", "tvm_flow.bundle.write"]
assert not [name for name in names if name in sys.modules]
output = bundle.run()  # and both live until the interpreter ends
"""
    _python(code, pristine)


def test_the_packages_of_tvm_share_the_library(pristine: Path) -> None:
    """Whichever comes first: theirs or ours."""
    code = """
import re, sys
from pathlib import Path
sys.modules["torch"] = None
sys.path.insert(0, sys.argv[1] + "/python")
if sys.argv[2] == "theirs":
    import tvm
import tvm_flow.runtime as runtime
bundle = runtime.load(sys.argv[1])
runtime.check(bundle)
import tvm
import numpy as np
tvm.runtime.tensor(np.ones(3, np.float32))
tvm.runtime.load_module(sys.argv[1] + "/model.so")
runtime.check(bundle)
maps = Path("/proc/self/maps").read_text()
for name in ("libtvm_ffi.so", "libtvm_runtime.so"):
    assert len(set(re.findall(r"/\\S*" + re.escape(name), maps))) == 1
"""
    for first in ("theirs", "ours"):
        _python(code, pristine, first)


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="apache-no-such is not installed") as caught:
        c_api.load_library("no_such", "libno_such.so")
    assert "\n" not in str(caught.value)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(c_api.importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(EnvironmentFault, match=r"cannot load .*libtvm_ffi\.so"):
        c_api.load_library("tvm_ffi", "libtvm_ffi.so")


def test_versions_are_those_of_the_package_manager(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for package, distribution in verify._DISTRIBUTIONS.items():
        assert verify._installed(package, distribution) == metadata.version(distribution)
    assert verify._installed("no_such_package", "no-such-package") is None
    (tmp_path / "tvm").mkdir()
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "tvm")])
    monkeypatch.setattr(verify.importlib.util, "find_spec", lambda _: spec)
    assert verify._installed("tvm", "apache-tvm") == metadata.version("apache-tvm")
    (tmp_path / "apache_tvm-9.8.7.dist-info").mkdir()
    assert verify._installed("tvm", "apache-tvm") == "9.8.7"
