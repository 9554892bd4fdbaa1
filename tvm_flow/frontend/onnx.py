"""``model.onnx``: read, check and import an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tvm_flow.frontend.inputs import BOUNDS, placed, sample_of
from tvm_flow.frontend.onnx_fold import fold_constants
from tvm_flow.frontend.onnx_functions import written_out
from tvm_flow.frontend.onnx_half import in_single
from tvm_flow.frontend.onnx_importer import KNOWN, Importer
from tvm_flow.frontend.onnx_operators import NotConvertibleError
from tvm_flow.frontend.onnx_reference import Reference
from tvm_flow.frontend.quiet import quiet
from tvm_flow.frontend.relax_import import from_relax
from tvm_flow.frontend.source import Imported, OnnxSource
from tvm_flow.frontend.weights import ONLY_FLOAT32, first_line, not_finite
from tvm_flow.ir.inputs import INPUT_TYPES, InputSpec
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.support.errors import ImportUnsupportedError, ModelError

_EXPORT = f"export the {FLOAT32} model again with a fixed input shape"


def load_onnx(
    path: Path, given: Sequence[InputSpec] = ()
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Read and check ``path``; weights in files beside it are read too. Also returns remarks for
    the user. Half precision becomes fp32.

    ``given`` inputs replace sizes that the file leaves open (batch, height, width); fixed sizes
    stay.
    Raises :class:`ModelError` for a file that is not there, not a valid ONNX graph, or has
    weights that are not fp32 or not finite.
    """
    if not path.is_file():
        raise ModelError(f"The file {path} does not exist", fix="check the path after --model")
    try:
        model = onnx.load(path)
        _require_known_version(model, path)
        onnx.checker.check_model(model)
        remarks = in_single(model)
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    except ModelError:
        raise
    except Exception as error:  # what is wrong in a damaged file decides who notices
        raise ModelError(
            f"The file {path} is not a valid ONNX model",
            why=first_line(error),
            fix="export or download it again, with its external data beside it",
        ) from error
    for name, value in tensors.items():
        _check_tensor(name, value)
    _leave_valid_out(model)
    # files of older versions list initialisers among the inputs, as their defaults
    kept = [value for value in model.graph.input if value.name not in tensors]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for spec, number in zip(given, placed(given, [v.name for v in kept], str(path)), strict=True):
        _fix_shape(model.graph.input[number], spec.shape)
    return model, remarks


def _require_known_version(model: onnx.ModelProto, path: Path) -> None:
    """Raises :class:`ModelError` for operators, or a file, of versions that ``onnx`` does not know
    yet."""
    newest = (onnx.defs.onnx_opset_version(), onnx.IR_VERSION)
    kinds = ("operator set", "version of the file format")
    for found, known, what in zip((_opset(model), model.ir_version), newest, kinds, strict=True):
        if found > known:
            raise ModelError(
                f"The file {path} is of {what} {found}",
                why=f"onnx {onnx.__version__}, which is installed, knows them up to {known}",
                fix="pip install -U onnx, or export the model for an older operator set",
            )


def _leave_valid_out(model: onnx.ModelProto) -> None:
    """``auto_pad=VALID`` says no padding, which is what its absence says: ONNX's own evaluator,
    the reference here, pads in spite of it before version 1.23."""
    for node in model.graph.node:
        if any(a.name == "auto_pad" and a.s == b"VALID" for a in node.attribute):
            kept = [a for a in node.attribute if a.name not in ("auto_pad", "pads")]
            del node.attribute[:]
            node.attribute.extend(kept)


def inputs(model: onnx.ModelProto) -> tuple[InputSpec, ...]:
    """What it takes.

    Raises :class:`ModelError` for a graph without inputs, other types, and open sizes.
    """
    if not model.graph.input:
        raise ModelError(
            "The ONNX model takes no input",
            why="a network without input is a constant",
            fix="export a model that takes a tensor",
        )
    return tuple(map(_input, model.graph.input))


def _input(value: onnx.ValueInfoProto) -> InputSpec:
    kind = value.type.tensor_type
    dtype = _type_name(value)
    if dtype not in INPUT_TYPES:
        raise ModelError(
            f"The input {value.name} of the ONNX model is {dtype}",
            why=f"inputs are {', '.join(INPUT_TYPES)}",
            fix=_EXPORT,
        )
    sizes = tuple(int(dim.dim_value) for dim in kind.shape.dim)
    if any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in kind.shape.dim):
        raise ModelError(
            f"The input {value.name} of the ONNX model has no elements",
            why=f"its shape is {'x'.join(map(str, sizes))}",
            fix="export the model for inputs that have elements",
        )
    if not kind.HasField("shape") or min(sizes, default=1) <= 0:
        shown = "x".join(str(dim.dim_value or dim.dim_param or "?") for dim in kind.shape.dim)
        raise ModelError(
            f"The input {value.name} of the ONNX model has no fixed shape",
            why=f"it is {shown}" if shown else "",
            fix="pass all its sizes with --input, such as --input 1x3x224x224",
        )
    return InputSpec(sizes, dtype, value.name)


def _type_name(value: onnx.ValueInfoProto) -> str:
    if value.type.WhichOneof("value") != "tensor_type":
        return f"a {value.type.WhichOneof('value') or 'thing without type'}"
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    except (KeyError, ValueError):
        return "of an unknown type"


def output_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Raises :class:`ModelError` for sequences and the like."""
    for value in model.graph.output:
        if value.type.WhichOneof("value") not in ("tensor_type", None):
            raise ModelError(
                f"The output {value.name} of the ONNX model is {_type_name(value)}",
                why="only tensors can be compiled",
                fix="export a model that returns tensors",
            )
    return tuple(value.name for value in model.graph.output)


def runnable_sample(
    reference: Reference, specs: Sequence[InputSpec], given: Mapping[str, np.ndarray] | None
) -> tuple[np.ndarray, ...]:
    """An array per input, with integers that are small enough for the model's tables; whatever
    else is wrong with the model shows when it is compiled."""
    if given or all(np.dtype(spec.dtype).kind in "fb" for spec in specs):
        return sample_of(specs, given)
    for bound in BOUNDS:
        sample = sample_of(specs, given, bound)
        with suppress(Exception):
            reference.outputs(sample)
            return sample
    return sample


def import_onnx(model: onnx.ModelProto, reference: Reference, name: str) -> Imported:
    """Import a loaded model; parameters keep the names of their initialisers. ``reference`` says
    what its values are.

    Raises :class:`ImportUnsupportedError` naming the operator and the node.
    """
    _check_batch_norm(model)
    source = OnnxSource(model, reference)
    try:
        model = fold_constants(written_out(model, KNOWN))
    except Exception as error:  # whatever numpy says about a shape that cannot be
        raise ModelError(
            "The constants and shapes in the ONNX model contradict each other",
            why=first_line(error),
            fix=_EXPORT,
        ) from error
    importer = Importer()
    try:
        with quiet():
            mod = importer.from_onnx(model.graph, _opset(model))
    except Exception as error:
        raise _unsupported(model, importer, error) from error
    main = mod["main"]
    values = main.attrs.get("params", [])
    weights = main.params[int(main.attrs["num_input"]) :]
    parameters = {
        var.name: (var.name, value.numpy()) for var, value in zip(weights, values, strict=True)
    }
    made = {output for node in model.graph.node for output in node.output}
    env = {name: value for name, value in importer._nodes.items() if name in made}
    return Imported(*from_relax(mod, parameters, name, env), source)


def _check_batch_norm(model: onnx.ModelProto) -> None:
    """Before operator set 14, training was to ask for the batch's statistics as further results."""
    if _opset(model) >= 14:
        return
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and any(node.output[1:]):
            raise ImportUnsupportedError(
                f"The BatchNormalization {node.name or node.output[0]} is in training mode",
                why=f"it has {len(node.output)} results in operator set {_opset(model)}",
                fix="export the model in evaluation mode",
            )


def _opset(model: onnx.ModelProto) -> int:
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def _unsupported(
    model: onnx.ModelProto, importer: Importer, error: Exception
) -> ImportUnsupportedError:
    """Say at which node the import stopped: the first whose result the importer lacks."""
    stopped = (node for node in model.graph.node if node.output[0] not in importer._nodes)
    node = next(stopped, None)
    what = "the ONNX model" if node is None else f"the ONNX operator {_named(node)}"
    why = f"{type(error).__name__}: {first_line(error)}"
    if node is not None and not _is_known(node):
        why = "no converter knows it, and ONNX does not define it by other operators"
    elif isinstance(error, NotConvertibleError):
        why = str(error)
    return ImportUnsupportedError(
        f"TVM cannot import {what}",
        why=why,
        fix="replace it in the model by operators that TVM knows",
    )


def _named(node: onnx.NodeProto) -> str:
    domain = "" if node.domain in ("", "ai.onnx") else f" of {node.domain}"
    return f"{node.op_type}{domain} (node {node.name or node.output[0]})"


def _is_known(node: onnx.NodeProto) -> bool:
    return node.op_type in KNOWN and node.domain in ("", "ai.onnx")


def _check_tensor(name: str, value: np.ndarray) -> None:
    if value.dtype.kind in "iub":  # shapes, axes and masks
        return
    if value.dtype != FLOAT32:
        raise ModelError(
            f"The tensor {name} of the model is {value.dtype}",
            why=ONLY_FLOAT32,
            fix=_EXPORT,
        )
    bad = int((~np.isfinite(value)).sum())
    if bad:
        raise not_finite(name, bad, value.size)


def _fix_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    dims = value.type.tensor_type.shape.dim
    if len(dims) == len(shape):
        for dim, size in zip(dims, shape, strict=True):
            if dim.dim_value <= 0:
                dim.dim_value = size
