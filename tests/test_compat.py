"""The quick getmodule gives what the slow one gives, is removed again, and spares the scans."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from tvm_flow.support import compat

# Stock, the import asks 20,000 times for the file of an object, and scans all modules each time.
CODE = """
import inspect, tvm
from tvm_flow import compat
before, plain, calls = inspect.getmodule, inspect.getabsfile, []
inspect.getabsfile = lambda *args: calls.append(args) or plain(*args)
compat.fast_tensor_intrin()
assert inspect.getmodule is before
from tvm.s_tir import TensorIntrin
assert TensorIntrin.get("dot_16x4_vnni") is not None
print(len(calls))
"""


def test_same_answers_as_inspect() -> None:
    things = [inspect, pytest, test_same_answers_as_inspect, inspect.currentframe(), int, sys.exit]
    expected = [inspect.getmodule(thing) for thing in things]
    assert expected[2] is sys.modules[__name__]
    with compat.fast_getmodule():
        assert [inspect.getmodule(thing) for thing in things] == expected
        source = inspect.getsource(test_same_answers_as_inspect)
        assert inspect.getsource(test_same_answers_as_inspect.__code__) == source


def fail_inside(before: object) -> None:
    with compat.fast_getmodule():
        assert inspect.getmodule is not before
        raise RuntimeError("inside")


def test_restores_even_after_an_error() -> None:
    before = inspect.getmodule
    with pytest.raises(RuntimeError, match="inside") as caught:
        fail_inside(before)
    assert inspect.getmodule is before
    with compat.fast_getmodule():
        assert inspect.getmodule(caught.tb) is sys.modules[__name__]


def test_tensor_intrin_without_scans() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100
