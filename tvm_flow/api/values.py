"""What verbs are called with: a model, a target, a tracker; each may be plain text instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tvm_flow.ir.inputs import InputSpec as Input

if TYPE_CHECKING:
    from torch import nn

    from tvm_flow.targets import Board


#: What compiling makes: a folder, one library with everything inside, a library for TVM's own
#: virtual machine.
BUNDLE, SINGLE_FILE, TVM = FORMATS = ("bundle", "single-file", "tvm")


@dataclass(frozen=True)
class Model:
    """A network, with the weights to load into it and the shape it is fixed to.

    ``source``: a name of the zoo, ``file.py:factory``, ``model.pt2``, ``model.onnx``, a file of
    TorchScript, or a module.
    ``weights``: a ``.safetensors`` or ``.pth`` file; not for a module, which has its own.
    ``input_shape``: batch first, NCHW; by default the model's own, or 1x3x224x224. ``inputs``: of a
    network that takes several, or other types than fp32, instead. ``sample``: a ``.npy`` or
    ``.npz`` file of inputs that it is checked with, where random ones are outside its domain; it
    says shapes and types where nothing else does.
    """

    source: str | nn.Module
    weights: str | None = None
    input_shape: tuple[int, ...] | None = None
    inputs: tuple[Input, ...] = ()
    sample: str | Path | None = None


@dataclass(frozen=True)
class Target:
    """What is compiled for: a board and one of its devices.

    ``board``: a name of ``tvm-flow targets``, the path of a ``.toml`` file, or a board. ``device``:
    a kind of :mod:`tvm_flow.backends`.
    """

    board: str | Path | Board = "native"
    device: str = "cpu"


@dataclass(frozen=True)
class Tracker:
    """Boards to be had: ``address`` (``HOST:PORT``) of an RPC tracker, and the ``key`` they are
    registered as there, by default the target's name."""

    address: str
    key: str | None = None


ModelLike: TypeAlias = "str | nn.Module | Model"
TargetLike: TypeAlias = "str | Path | Board | Target"


def model_value(model: ModelLike) -> Model:
    return model if isinstance(model, Model) else Model(model)


def target_value(target: TargetLike) -> Target:
    return target if isinstance(target, Target) else Target(target)


def tracker_value(tracker: str | Tracker) -> Tracker:
    return tracker if isinstance(tracker, Tracker) else Tracker(tracker)
