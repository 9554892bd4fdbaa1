"""Who says what an ONNX model computes: ONNX Runtime where it is installed and runs the model, else
ONNX's own reference evaluator (plain numpy, slow)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tvm_flow.frontend.onnx_corrected import CORRECTED
from tvm_flow.frontend.roundings import off_by_a_rounding
from tvm_flow.frontend.weights import first_line
from tvm_flow.support.errors import ImportUnsupportedError

_FIX = "install ONNX Runtime, which runs more models: pip install tvm-flow[onnx]"
RUNTIME, EVALUATOR = "ONNX Runtime", "onnx.reference"
_IR = 10  # of files, which ONNX Runtime is behind with
_FATAL = 4  # ONNX Runtime's log level


class Reference:
    """The values of one model. ``name`` says who computes them; it is settled by the first call of
    :meth:`values`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._session = _session(model)

    @property
    def name(self) -> str:
        return EVALUATOR if self._session is None else RUNTIME

    def values(self, inputs: Sequence[np.ndarray]) -> dict[str, Any]:
        """Everything that is computed, by name, for one array per input."""
        names = [value.name for value in self._model.graph.input]
        feeds = {name: x.copy() for name, x in zip(names, inputs, strict=True)}
        if self._session is not None:
            try:
                made = self._session.run(None, feeds)
            except Exception:  # an operator that it has not for these types says so only now
                self._session = None
            else:
                found = [output.name for output in self._session.get_outputs()]
                return {**feeds, **dict(zip(found, made, strict=True))}
        try:
            values: dict[str, Any] = self._evaluator.run(None, feeds, intermediate=True)
        except Exception as error:  # NumPy's, and those of a hundred operators
            raise ImportUnsupportedError(
                f"{EVALUATOR}, ONNX's own evaluator, cannot run the ONNX model",
                why=f"{type(error).__name__}: {first_line(error)}",
                fix=_FIX if _installed() is None else "export the model for another operator set",
            ) from error
        return values

    def without_runtime(self) -> bool:
        """Whether ONNX Runtime was asked until now; from now on it is not."""
        asked, self._session = self._session is not None, None
        return asked

    def outputs(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs, in order."""
        found = self.values(inputs)
        return [np.asarray(found[value.name]) for value in self._model.graph.output]

    def outputs_off(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The same with weights and inputs off by a rounding."""
        return Reference(_off(self._model)).outputs(list(map(off_by_a_rounding, inputs)))

    @cached_property
    def _evaluator(self) -> ReferenceEvaluator:
        return ReferenceEvaluator(self._model, new_ops=list(CORRECTED))


def _installed() -> Any:
    """ONNX Runtime, an extra; imported when it is needed: it takes time, and starts a thread."""
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError:
        return None
    return onnxruntime


def _session(model: onnx.ModelProto) -> Any:
    """ONNX Runtime with every value as an output and each operator as the model has it; ``None``
    where it is not installed or does not know an operator or its version."""
    onnxruntime = _installed()
    if onnxruntime is None or _is_misread(model):
        return None
    onnxruntime.set_default_logger_severity(_FATAL)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    try:
        return onnxruntime.InferenceSession(
            _all_told(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:  # it raises many types, protobuf one for more than 2 GiB
        return None


def _all_told(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of which every value is an output."""
    told = onnx.ModelProto()
    told.CopyFrom(model)
    told.ir_version = min(told.ir_version, _IR)  # operators have their own versions
    graph = told.graph
    known = {value.name for value in graph.output}
    made = [name for node in graph.node for name in node.output if name and name not in known]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    _write_sigmoids_out(graph)
    return told


def _off(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with weights off by a rounding; vectors may be scales of a Resize."""
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    constants = (node.attribute[0].t for node in moved.graph.node if node.op_type == "Constant")
    for tensor in (*moved.graph.initializer, *constants):
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
            value = off_by_a_rounding(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return moved


def _write_sigmoids_out(graph: onnx.GraphProto) -> None:
    """As exp(-softplus(-x)): ONNX Runtime's own is zero below -18, which is all that there is where
    a network is sure that it sees nothing."""
    nodes = list(graph.node)
    for place, node in reversed(list(enumerate(nodes))):
        if node.op_type == "Sigmoid" and node.domain in ("", "ai.onnx"):
            names = [node.input[0], *(f"{node.output[0]}_part_{n}" for n in range(3)),
                     node.output[0]]  # fmt: skip
            nodes[place : place + 1] = [
                onnx.helper.make_node(operator, [x], [y])
                for operator, x, y in zip(
                    ("Neg", "Softplus", "Neg", "Exp"), names, names[1:], strict=False
                )
            ]
    del graph.node[:]
    graph.node.extend(nodes)


def _is_misread(model: onnx.ModelProto) -> bool:
    """Whether a pooling is padded by itself and dilated: ONNX Runtime leaves the dilation out of
    the padding, and gives fewer elements than ONNX says."""
    for node in model.graph.node:
        attrs = {a.name: a for a in node.attribute}
        dilated = "dilations" in attrs and max(attrs["dilations"].ints) > 1
        if dilated and "auto_pad" in attrs and "Pool" in node.op_type:
            return attrs["auto_pad"].s.startswith(b"SAME")
    return False
