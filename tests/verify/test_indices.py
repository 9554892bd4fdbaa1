"""Indices of every form are imported as PyTorch means them, or the import says what it cannot."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.verify.networks import SHAPE, Computes, LastStep, imported, verified
from tvm_flow.verify.evaluate import Evaluator


def _written(at: tuple[object, ...]) -> Callable[[Tensor], Tensor]:
    def write(x: Tensor) -> Tensor:
        y = x * 1
        y[at] = 0.5  # type: ignore[index]
        return y

    return write


ALL, LAST = slice(None), slice(-2, None)
FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "x[-1]": lambda x: x[-1],
    "x[:, -1]": lambda x: x[:, -1],
    "x[:, 2, -3]": lambda x: x[:, 2, -3],
    "x[..., -1]": lambda x: x[..., -1],
    "x[..., -2:]": lambda x: x[..., -2:],
    "x[:, -3:-1]": lambda x: x[:, -3:-1],
    "x[:, -100:2]": lambda x: x[:, -100:2],
    "x[:, 1::2, ::3]": lambda x: x[:, 1::2, ::3],
    "x[:, [0, 2]]": lambda x: x[:, [0, 2]],
    "x[:, [-1, 0]]": lambda x: x[:, [-1, 0]],
    "x[..., [[0], [-2]]]": lambda x: x[..., [[0], [-2]]],
    "x[:, [0, -1], [2, -3]]": lambda x: x[:, [0, -1], [2, -3]],
    "x[[0, -1], :, [0, -1]]": lambda x: x[[0, -1], :, [0, -1]],
    "x[:, [[0], [-1]], [1, 2]]": lambda x: x[:, [[0], [-1]], [1, 2]],
    "x[[0, 1], [1, 2], [0, -1], [0, -2]]": lambda x: x[[0, 1], [1, 2], [0, -1], [0, -2]],
    "select": lambda x: x.select(-2, -2),
    "index_select": lambda x: x.index_select(-3, torch.tensor([3, 0])),
    "narrow": lambda x: x.narrow(2, -4, 3),
    "take": lambda x: x.take(torch.tensor([0, -1, 5])),
    "gather": lambda x: x.gather(1, x.argmax(1, keepdim=True)),
    "computed": lambda x: x[0, :, 0].index_select(0, (x[0, 0, 0] > 0).long()),
    "x[:, -1] = v": _written((ALL, -1)),
    "x[:, -2:] = v": _written((ALL, LAST)),
    "x[..., ::2] = v": _written((..., slice(None, None, 2))),
}


def test_every_form() -> None:
    """In one network: the message names the operator with its index."""
    found = verified(Computes(lambda x: tuple(form(x) for form in FORMS.values())))
    assert len(found.graph.outputs) == len(FORMS)
    assert found.places >= len(FORMS)


def test_other_values_than_the_sample() -> None:
    form = FORMS["x[:, [0, -1], [2, -3]]"]
    evaluator = Evaluator(imported(Computes(form)).graph)
    for seed in range(1, 4):
        x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(evaluator.run([x])[0], form(x))


def test_last_index_is_a_slice() -> None:
    """What is known when compiling costs no look-up."""
    operators = {node.op for node in imported(Computes(FORMS["x[:, -1]"])).graph.nodes()}
    assert operators == {"input", "slice", "reshape"}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_last_step(kind: type[nn.LSTM]) -> None:
    assert verified(LastStep(kind)).places > 20


DIRECTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "flip": lambda x: x.flip((1, -2)),
    "cat": lambda x: torch.cat([x, x * 2], -3),
    "stack": lambda x: torch.stack([x, x * 2], -1),
    "softmax": lambda x: x.softmax(-3),
    "mean": lambda x: x.mean((-1, -3)),
    "transpose": lambda x: x.transpose(-1, 1),
    "unbind": lambda x: torch.cat(x.unbind(-1), -1),
    "chunk": lambda x: x.chunk(4, -2)[-1],
    "split": lambda x: x.split(4, -2)[-1],
    "roll": lambda x: x.roll((-1, 2), (1, -2)),
    "fraction": lambda x: x + (torch.arange(5) < 2.5),
    "circular": lambda x: nn.functional.pad(x, (1, 2, 1, 1), mode="circular"),
    "grid_sample": lambda x: nn.functional.grid_sample(
        x, x[:, :3, :4, :2] / 3, align_corners=False
    ),
}


def test_axes_that_count_from_the_end() -> None:
    found = verified(Computes(lambda x: tuple(f(x) for f in DIRECTIONS.values())))
    assert len(found.graph.outputs) == len(DIRECTIONS)
