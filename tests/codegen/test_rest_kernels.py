"""What no algorithm computes is vectorised, and right on awkward shapes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import tvm
from torch import Tensor, nn

from tests.passes.networks import Snippet, board, check, imported, run
from tvm_flow import targets
from tvm_flow.backends.cpu import CPU, cpu_of, phases
from tvm_flow.codegen.emit import emit
from tvm_flow.codegen.rest.elementwise import Machine
from tvm_flow.codegen.rest.function import vectorised
from tvm_flow.codegen.schedule_rest import fuse_rest
from tvm_flow.ir.generic import generic_operators
from tvm_flow.passes.phases import run_phases

Body = Callable[[Any, Tensor], Any]

ELEMENTWISE: dict[str, Body] = {
    "mish": lambda _, x: F.mish(x),
    "elu": lambda _, x: F.elu(x) + F.celu(x, 0.7) + F.leaky_relu(x),
    "gelu": lambda _, x: F.gelu(x) * F.gelu(x, approximate="tanh"),
    "log": lambda _, x: torch.log(x.abs() + 0.1) + torch.rsqrt(x * x + 1) + torch.erf(x),
    "power": lambda _, x: x.abs().pow(1.7) + x**3,
    "channels": lambda _, x: x * torch.arange(58.0)[:, None, None] - x[:, :1],
    "concat": lambda _, x: torch.cat([x, x[:, 3:10] * 2, torch.tanh(x)], 1),
    "pad": lambda _, x: F.pad(x, (1, 2, 0, 1)) + 1,
    "rows": lambda _, x: x.permute(0, 1, 3, 2) * 2,
    "images": lambda _, x: x.permute(1, 2, 0, 3) * 2,
    "groups": lambda _, x: x.reshape(x.shape[0], 2, 29, *x.shape[2:]).transpose(1, 2) * 2,
    "gather": lambda _, x: x[:, torch.arange(57, -1, -3)] + 0,
    "pixels": lambda _, x: F.pixel_shuffle(x[:, :12], 2) + 1,
    "nearest": lambda _, x: F.interpolate(x, scale_factor=2) + 1,
    "logical": lambda _, x: torch.where((x > 0) & (x < 1), x, -x),
    "integers": lambda _, x: (x * 10).to(torch.int64).to(torch.float32) % 3,
}
REDUCTIONS: dict[str, Body] = {
    "softmax": lambda _, x: F.softmax(x, -1),
    "softmax of channels": lambda _, x: F.softmax(x, 1),
    "log_softmax": lambda _, x: F.log_softmax(x, 2),
    "mean": lambda _, x: x.mean((1, 3)),
    "mean of pixels": lambda m, x: m.part(x).mean((2, 3)) + 1,
    "everything": lambda _, x: x.sum() + x.mean(),
    "variance": lambda _, x: x.var(1) + x.std((2, 3))[:, :1, None],
    "rms": lambda _, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
    "normalize": lambda _, x: F.normalize(x, dim=1),
    "greatest": lambda _, x: x.max() - x.min(),
    "layer norm": lambda m, x: m.layer(x.transpose(1, 3)),
    "group norm": lambda m, x: m.group(x),
    "instance norm": lambda m, x: m.instance(x),
}
EVERY = ELEMENTWISE | REDUCTIONS
#: Fewer elements in a row than lanes; enough to share among threads.
SHAPE, LARGE = (2, 58, 3, 5), (1, 58, 37, 41)


def snippet(*bodies: Body) -> Snippet:
    return Snippet(
        lambda m, x: [body(m, x) for body in bodies],
        part=nn.Conv2d(58, 10, 1), layer=nn.LayerNorm(58), group=nn.GroupNorm(2, 58),
        instance=nn.InstanceNorm2d(58, affine=True),
    )  # fmt: skip


def rest_of(module: nn.Module, shape: tuple[int, ...]) -> list[tvm.tirx.PrimFunc]:
    """The functions that no algorithm generates, before they are scheduled."""
    cpu = cpu_of(board())
    graph = run_phases(imported(module, shape), phases())
    mod, _ = emit(graph, cpu, CPU.default_choice(cpu), partial(CPU.ways, device=cpu))
    return [
        function for function in fuse_rest()(mod).functions.values()
        if isinstance(function, tvm.tirx.PrimFunc) and "tirx.is_scheduled" not in function.attrs
    ]  # fmt: skip


def test_all_is_in_vectors_without_calls() -> None:
    functions = rest_of(snippet(*EVERY.values()), SHAPE)
    assert len(functions) > 30
    for function in functions:
        if not any(tuple(param.shape) for param in function.params):
            continue  # of single numbers
        text = vectorised(function, Machine(4, 1)).script(show_meta=False)
        assert "T.Ramp" in text
        for call in ("exp", "log", "tanh", "erf", "pow", "sigmoid"):
            assert f"T.{call}(" not in text


def test_they_are_not_named_as_slow_and_others_are() -> None:
    def named(*bodies: Body) -> list[str]:
        graph = run_phases(imported(snippet(*bodies), SHAPE), phases())
        cpu = cpu_of(board())
        return [o.operator for o in generic_operators(graph, lambda n: bool(CPU.ways(n, cpu)))]

    assert named(*EVERY.values()) == []
    assert named(lambda _, x: torch.sin(x) + torch.atan(x)) == ["sin", "atan"]


def test_short_rows() -> None:
    check(snippet(*EVERY.values()), SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["native", "rk3399"])
def test_machine_code_calls_no_library(target: str, tmp_path: Path) -> None:
    graph = run_phases(imported(snippet(*EVERY.values()), SHAPE), phases())
    built = CPU.compile(CPU.lower(graph, targets.load(target)))
    objects = tmp_path / "kernels.o"
    assert built.module is not None
    built.module.write_to_file(str(objects), "o")
    names = set(objects.read_bytes().split(b"\0"))
    for function in (b"expf", b"logf", b"tanhf", b"erff", b"powf", b"fmodf", b"floorf", b"roundf"):
        assert function not in names


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_enough_for_threads(name: str) -> None:
    check(snippet(EVERY[name]), LARGE)


def test_nan_and_infinity_pass() -> None:
    bodies = [
        lambda _, x: torch.maximum(x, x.flip(3)), lambda _, x: torch.tanh(x).clamp(-0.5, 0.5),
        lambda _, x: F.softmax(x, -1), lambda _, x: x.mean(1), lambda _, x: F.mish(x),
        lambda _, x: torch.exp(x) * torch.log(x), lambda _, x: F.softmax(x, 1),
    ]  # fmt: skip
    module, shape = snippet(*bodies), (1, *SHAPE[1:])
    x = torch.randn(shape)
    for place, value in enumerate((float("nan"), float("inf"), -float("inf"))):
        x[0, 7 * place, place, 3 - place] = value
    found = run(run_phases(imported(module, shape), phases()), x.numpy())
    for ours, theirs in zip(found, module(x), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_the_greatest_of_something_with_nan_is_nan() -> None:
    module, shape = snippet(lambda _, x: x.max()), (1, *SHAPE[1:])
    x = torch.randn(shape)
    x[0, 1, 1, 1] = float("nan")
    (found,) = run(run_phases(imported(module, shape), phases()), x.numpy())
    assert np.isnan(found)
