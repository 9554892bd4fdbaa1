"""The cases of the ONNX backend suite that comes with the ``onnx`` wheel, as models to compile.

A graph input that says what an operator is to do (a shape, axes, the number of results) is given to
the model as a constant; all others are real inputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper

DATA = Path(onnx.backend.test.__file__).parent / "data"
EXPANDED = "_expanded"

#: Operator -> which of its inputs are no data.
_CONSTANTS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,), "BlackmanWindow": (0,), "CenterCropPad": (1,), "Col2Im": (1, 2),
    "ConstantOfShape": (0,), "CumSum": (1,), "CumProd": (1,), "DFT": (1, 2), "Dropout": (1, 2),
    "Expand": (1,), "HammingWindow": (0,), "HannWindow": (0,), "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4), "NonMaxSuppression": (2, 3, 4), "OneHot": (1,),
    "Pad": (1, 2, 3), "Range": (0, 1, 2), "Reshape": (1,), "Resize": (1, 2, 3), "STFT": (1, 3),
    "Slice": (1, 2, 3, 4), "Split": (1,), "SplitToSequence": (1,), "Squeeze": (1,), "Tile": (1,),
    "TopK": (1,), "Trilu": (1,), "Unsqueeze": (1,), "Upsample": (1,),
}  # fmt: skip
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_CONSTANTS |= {f"Reduce{kind}": (1,) for kind in _REDUCTIONS}


@dataclass(frozen=True)
class Case:
    """``operator``: of its first node; ``inputs``: one array per input that the model still has;
    ``expected``: one per output. ``odd``: why there is nothing to compile, else empty."""

    name: str
    operator: str
    model: onnx.ModelProto
    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]
    odd: str = ""

    @property
    def expanded(self) -> bool:
        return EXPANDED in self.name


def cases() -> Iterator[Case]:
    """All of them, in the order of the suite; those without arrays as data are ``odd``."""
    from onnx.backend.test.case.node import collect_testcases  # noqa: PLC0415 - takes seconds

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases()
    constants: dict[str, set[str]] = {}
    for case in found:
        own = constants.setdefault(case.name, _constants(case.model))
        plain = case.name.partition(EXPANDED)[0]  # comes first and has the inputs' meaning
        inputs, outputs = case.data_sets[0]
        yield _case(case.name, case.model, inputs, outputs, constants.get(plain, own))
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        for folder in sorted((DATA / kind).iterdir()):
            yield _stored(f"{kind}/{folder.name}", folder)


def _constants(model: onnx.ModelProto) -> set[str]:
    """Names of inputs that say what an operator is to do."""
    return {
        node.input[place]
        for node in model.graph.node
        for place in _CONSTANTS.get(node.op_type, ())
        if place < len(node.input)
    }


def _stored(name: str, folder: Path) -> Case:
    model = onnx.load(folder / "model.onnx")
    data = folder / "test_data_set_0"

    def arrays(kind: str) -> list[Any]:
        files = sorted(data.glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
        return [_array(file) for file in files]

    return _case(name, model, arrays("input"), arrays("output"), _constants(model))


def _array(file: Path) -> Any:
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(file.read_bytes())
        return numpy_helper.to_array(tensor)
    except Exception:  # a sequence or an optional
        return None


def _case(
    name: str,
    model: onnx.ModelProto,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: set[str],
) -> Case:
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input]
    if len(inputs) < len(names):
        names = [name for name in names if name not in stored]
    given, data, odd = dict(zip(names, inputs, strict=False)), [], ""
    if len(names) != len(inputs) or not all(map(_is_data, [*inputs, *outputs])):
        odd = "no arrays as inputs and outputs"
        given = {}
    for name_, value in given.items():
        array = np.asarray(value)
        if name_ in constants and name_ not in stored:
            kept.graph.initializer.append(numpy_helper.from_array(array, name_))
            _drop(kept, name_)
        elif name_ not in stored:
            data.append(array)
    operator = model.graph.node[0].op_type if model.graph.node else ""
    return Case(name, operator, kept, tuple(data), tuple(map(np.asarray, outputs)) if not odd
                else (), odd)  # fmt: skip


def _drop(model: onnx.ModelProto, name: str) -> None:
    """Take an input away; files of IR 3 need it listed beside its initialiser."""
    if model.ir_version < 4:
        return
    kept = [value for value in model.graph.input if value.name != name]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _is_data(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | float | int) and (
        np.asarray(value).dtype.kind in "fiub" or np.asarray(value).dtype.name.startswith(
            ("bfloat", "float", "int", "uint"))
    )  # fmt: skip
