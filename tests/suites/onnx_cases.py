"""The ONNX backend suite that comes with the ``onnx`` wheel: plain, and with operators that ONNX
defines by others written out (``_expanded``). The judge is the suite's own expected output.

A graph input that says what an operator is to do (a shape, axes, the number of results) is given to
the model as a constant; all others are real inputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import torch
from onnx import numpy_helper

import tvm_flow
from tests.suites.cases import RIGHT, WRONG, Case, Entry, Outcome
from tests.suites.in_process import check_in_this_process
from tests.suites.judge import TOLERANCE, differs, refusal
from tvm_flow.frontend.export import import_model
from tvm_flow.frontend.model import load
from tvm_flow.support.errors import TvmFlowError
from tvm_flow.verify.evaluate import Evaluator
from tvm_flow.verify.network import verified_import

EXPANDED = "_expanded"
_DATA = Path(onnx.backend.test.__file__).parent / "data"

#: Operator -> which of its inputs are no data.
_CONSTANTS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,), "BlackmanWindow": (0,), "CenterCropPad": (1,), "Col2Im": (1, 2),
    "ConstantOfShape": (0,), "CumSum": (1,), "CumProd": (1,), "DFT": (1, 2), "Dropout": (1, 2),
    "Expand": (1,), "HammingWindow": (0,), "HannWindow": (0,), "Loop": (0, 1),
    "MaxUnpool": (2,), "MelWeightMatrix": (0, 1, 2, 3, 4), "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1,), "Pad": (1, 2, 3), "Range": (0, 1, 2), "Reshape": (1,), "Resize": (1, 2, 3),
    "STFT": (1, 3), "SequenceAt": (1,), "SequenceErase": (1,), "SequenceInsert": (2,),
    "Slice": (1, 2, 3, 4), "Split": (1,), "SplitToSequence": (1,),
    "Squeeze": (1,), "Tile": (1,), "TopK": (1,), "Trilu": (1,), "Unsqueeze": (1,),
    "Upsample": (1,),
}  # fmt: skip
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_CONSTANTS |= {f"Reduce{kind}": (1,) for kind in _REDUCTIONS}

#: What the suite expects of these has four digits.
_COARSE = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}

#: What is computed in fp32, and how precise the suite's own results of that are.
_HALF = {"float16": 4 * 2.0**-10, "bfloat16": 4 * 2.0**-7}


@dataclass(frozen=True)
class _Data:
    """A model with one array per input that it still has, and one per output."""

    name: str
    model: onnx.ModelProto
    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Backend:
    """Entries are operators. With ``trace``, models are imported and verified, and no code is
    made."""

    trace: bool = False
    name: str = "onnx"

    def entries(self) -> list[Entry]:
        return [
            Entry(operator, partial(_cases, operator, found, self.trace))
            for operator, found in sorted(_by_operator().items())
        ]


def _cases(operator: str, found: list[_Data], trace: bool) -> Iterator[Case]:
    for data in found:
        yield Case(f"{operator}/{data.name}", partial(_run, data, trace))


@cache
def _by_operator() -> dict[str, list[_Data]]:
    """By the first operator of a model, or of what it is the expansion of. Cases whose data are no
    arrays of numbers are none."""
    from onnx.backend.test.case.node import collect_testcases  # noqa: PLC0415 - takes seconds

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases()
    plain: dict[str, tuple[str, set[str]]] = {}
    cases: dict[str, list[_Data]] = {}
    for case in found:
        own = plain.setdefault(case.name, (_first(case.model), _constants(case.model)))
        operator, constants = plain.get(case.name.partition(EXPANDED)[0], own)
        inputs, outputs = case.data_sets[0]
        data = _data(case.name, case.model, inputs, outputs, constants)
        cases.setdefault(operator, []).extend([data] if data else [])
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        for folder in sorted((_DATA / kind).iterdir()):
            model = onnx.load(folder / "model.onnx")
            data = _data(f"{kind}/{folder.name}", model, _stored(folder, "input"),
                         _stored(folder, "output"), _constants(model))  # fmt: skip
            cases.setdefault(_first(model), []).extend([data] if data else [])
    return cases


def _first(model: onnx.ModelProto) -> str:
    return model.graph.node[0].op_type if model.graph.node else "none"


def _constants(model: onnx.ModelProto) -> set[str]:
    """Names of inputs that say what an operator is to do."""
    return {
        node.input[place]
        for node in model.graph.node
        for place in _CONSTANTS.get(node.op_type, ())
        if place < len(node.input)
    }


def _stored(folder: Path, kind: str) -> list[Any]:
    files = (folder / "test_data_set_0").glob(f"{kind}_*.pb")
    return [_array(file) for file in sorted(files, key=lambda p: int(p.stem.split("_")[1]))]


def _array(file: Path) -> Any:
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(file.read_bytes())
        return numpy_helper.to_array(tensor)
    except Exception:  # a sequence or an optional
        return None


def _data(
    name: str,
    model: onnx.ModelProto,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: set[str],
) -> _Data | None:
    if not all(map(_is_data, [*inputs, *outputs])):
        return None
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input]
    if len(inputs) < len(names):
        names = [name for name in names if name not in stored]
    given = []
    for name_, value in zip(names, inputs, strict=True):
        if name_ in constants and name_ not in stored:
            kept.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name_))
            _drop_input(kept, name_)
        elif name_ not in stored:
            given.append(np.asarray(value))
    return _Data(name, kept, tuple(given), tuple(map(np.asarray, outputs)))


def _drop_input(model: onnx.ModelProto, name: str) -> None:
    """Files of IR 3 have initialisers among the inputs."""
    if model.ir_version >= 4:
        kept = [value for value in model.graph.input if value.name != name]
        del model.graph.input[:]
        model.graph.input.extend(kept)


def _is_data(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | float | int) and (
        np.asarray(value).dtype.kind not in "OUSM"
    )


def _run(data: _Data, trace: bool, folder: Path) -> Outcome:
    warnings.simplefilter("ignore")
    path = folder / "model.onnx"
    onnx.save(data.model, path)
    inputs = list(map(_widened, data.inputs))
    np.savez(folder / "sample.npz", *inputs)
    try:
        made = (_evaluated if trace else _computed)(path, inputs, folder)
    except TvmFlowError as error:
        return refusal(error)
    tolerance = max([TOLERANCE, *(_HALF.get(x.dtype.name, 0.0) for x in data.expected)])
    problem = differs(made, list(map(_widened, data.expected)), tolerance)
    if problem and data.name in _COARSE:
        close = [
            np.allclose(a, b, rtol=_COARSE[data.name])
            for a, b in zip(made, data.expected, strict=True)
        ]
        problem = "" if all(close) else problem
    return Outcome(WRONG, problem) if problem else Outcome(RIGHT)


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name in _HALF else array


def _evaluated(path: Path, inputs: Sequence[np.ndarray], _folder: Path) -> list[np.ndarray]:
    imported = import_model(load(str(path)))
    given = [torch.from_numpy(array.copy()) for array in inputs]
    verified_import(imported, given)
    return [value.numpy() for value in Evaluator(imported.graph).run(given)]


def _computed(path: Path, inputs: Sequence[np.ndarray], folder: Path) -> list[np.ndarray]:
    finite = all(np.isfinite(x).all() for x in inputs if x.dtype.kind == "f")
    sample = folder / "sample.npz" if finite else None
    model = tvm_flow.Model(str(path), sample=sample)
    check_in_this_process()
    report = tvm_flow.compile(
        model, output=folder / "bundle", threads=1, records=folder, runner=False
    )
    result = tvm_flow.load(report.path)(*inputs)
    return list(result) if isinstance(result, tuple | list) else [result]
