"""Arguments and options that several verbs share, and how their text is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tvm_flow import targets
from tvm_flow.api import values
from tvm_flow.support.errors import UsageError

_INPUT = re.compile(
    r"((?P<name>.+)=)?(?P<shape>scalar|[1-9]\d{0,8}(x[1-9]\d{0,8})*)(:(?P<dtype>\w+))?"
)


def input_spec(text: str) -> values.Input:
    """``1x3x224x224``, ``ids=1x16:int64`` or ``scale=scalar``. Raises :class:`UsageError`."""
    found = _INPUT.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{text!r} is not a shape",
            why="positive sizes joined by x were expected, batch first, or scalar",
            fix="write it like --input 1x3x224x224, or --input ids=1x16:int64",
        )
    shape = found["shape"]
    sizes = () if shape == "scalar" else tuple(int(size) for size in shape.split("x"))
    return values.Input(sizes, found["dtype"] or "", found["name"] or "")


def thread_counts(text: str) -> tuple[int, ...]:
    """``1,2`` -> (1, 2). Raises :class:`UsageError`."""
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text):
        raise UsageError(f"{text!r} is not a list of thread counts", fix="write --threads 1,2")
    return tuple(dict.fromkeys(int(count) for count in text.split(",")))


def model_of(positional: str | None, option: str | None) -> str:
    """The one model named, either way. Raises :class:`UsageError` for none or two."""
    if positional and option and positional != option:
        raise UsageError(
            f"Two models are named: {positional} and {option}", fix="leave --model away"
        )
    model = positional or option
    if not model:
        raise UsageError(
            "No model is named", fix="add one, for example fasternet_t0; tvm-flow models lists them"
        )
    return model


def given_model(
    positional: str | None,
    option: str | None,
    weights: str | None,
    inputs: Sequence[str] | None,
    sample: Path | None = None,
) -> values.Model:
    """The model that a command line names. Raises :class:`UsageError`."""
    return values.Model(
        model_of(positional, option),
        weights,
        inputs=tuple(map(input_spec, inputs or ())),
        sample=sample,
    )


def given_tracker(tracker: str | None, key: str | None) -> values.Tracker | None:
    """The boards that a command line names. Raises :class:`UsageError` for a key alone."""
    if tracker is None:
        if key is not None:
            raise UsageError("--key names a board of a tracker", fix="add --tracker HOST:PORT")
        return None
    return values.Tracker(tracker, key)


def complete_target(incomplete: str) -> list[str]:
    return [name for name in targets.names() if name.startswith(incomplete)]


def complete_model(incomplete: str) -> list[str]:
    from tvm_flow import models  # noqa: PLC0415 - imports torch

    return [name for name in models.NAMES if name.startswith(incomplete)]


ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="Zoo name, file.py:factory, model.pt2, model.onnx or TorchScript.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="The same as an option.", show_default=False),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights", metavar="FILE", help="Checkpoint, .safetensors or .pth.", show_default=False
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=]SHAPE[:TYPE]",
        help="Input shape, such as 1x3x224x224 or ids=1x16:int64; once per input, by default the "
        "model's own.",
        show_default=False,
    ),
]
Sample = Annotated[
    Path | None,
    typer.Option(
        "--sample",
        metavar="FILE",
        help="Inputs to check the network with, .npy or .npz, instead of random ones.",
        show_default=False,
    ),
]
Libc = Annotated[
    str | None,
    typer.Option(
        "--libc",
        metavar="LIBC",
        help="Link for musl, or for this version of glibc; by default the board's.",
        show_default=False,
    ),
]
Layout = Annotated[
    str, typer.Option("--layout", metavar="nchw|nhwc", help="Order of 4-D inputs and outputs.")
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="NAME|FILE",
        help="Board to compile for: a name of tvm-flow targets, or a .toml file.",
        autocompletion=complete_target,
    ),
]
TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="Board: a name of tvm-flow targets, or a .toml file.",
        autocompletion=complete_target,
    ),
]
Tracker = Annotated[
    str | None,
    typer.Option(
        "--tracker",
        metavar="HOST:PORT",
        help="RPC tracker of the boards to use.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="What clients ask the tracker for; by default the target's name.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        help="Worker threads; by default what the board or bundle says.",
        show_default=False,
    ),
]
ThreadList = Annotated[
    str, typer.Option("--threads", metavar="N,N", help="Numbers of threads to compare with.")
]
Records = Annotated[
    Path | None,
    typer.Option(
        "--records",
        metavar="DIR",
        help="Folder of tuning records, one folder per board in it.",
        envvar="TVM_FLOW_RECORDS",
        show_default="tuning_logs of the checkout, else of ~/.local/share/tvm-flow",
    ),
]
BundleArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="A bundle that tvm-flow compile wrote.")
]
