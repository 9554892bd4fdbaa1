"""``--model …`` -> a checked PyTorch module (or ONNX model) with the shape of its input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from tvm_flow import models
from tvm_flow.frontend import pt2, torchscript
from tvm_flow.frontend.forward import check_forward, outputs_of
from tvm_flow.frontend.inputs import Array, Asked, Shape, asked, fitted, sample_of
from tvm_flow.frontend.roundings import in_double, one_rounding_off
from tvm_flow.frontend.signature import examples, module_inputs
from tvm_flow.frontend.user_file import call_factory, free_of_inference_mode
from tvm_flow.frontend.weights import (
    SUFFIXES,
    apply_weights,
    check_tensors,
    in_single,
    named_tensors,
)
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.support.errors import ModelError, UsageError

if TYPE_CHECKING:  # PyTorch's models are loaded, and run in a comparison, without TVM
    import onnx

    from tvm_flow.frontend.onnx_reference import Reference


@dataclass
class LoadedModel:
    """A model that passed every check that does not need the compiler.

    ``module`` is in eval mode (``None`` for ONNX); ``program`` is there for a ``.pt2`` and
    ``onnx``, with who runs it, for an ``.onnx``. ``inputs`` have names and types; the last of
    them, ``keywords``, are passed to the module by their names. ``sample``: an array for each
    of them. ``outputs``: names. ``name`` is short and safe in file names; ``spec`` is what the
    user wrote; ``remarks`` are for the user, one line each.
    """

    module: nn.Module | None
    program: ExportedProgram | None
    onnx: onnx.ModelProto | None
    inputs: tuple[InputSpec, ...]
    name: str
    spec: str
    sample: tuple[Array, ...]
    outputs: tuple[str, ...]
    keywords: tuple[str, ...] = ()
    onnx_reference: Reference | None = None
    remarks: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """Who says what it computes; of an ONNX model settled once it has run."""
        return "PyTorch" if self.onnx_reference is None else self.onnx_reference.name

    @property
    def input_shape(self) -> Shape:
        """Of the first input."""
        return self.inputs[0].shape

    @property
    def plain(self) -> bool:
        """Whether the program, if there is one, takes one tensor after the other."""
        return not isinstance(self.module, pt2.Packed)

    @property
    def picture_shape(self) -> Shape:
        """Of the first input where it could hold a picture, and empty where its type says no or it
        has no elements."""
        pixels = self.inputs[0].dtype == FLOAT32 and 0 not in self.input_shape
        return self.input_shape if pixels else ()

    @property
    def own_sample(self) -> bool:
        """Whether the sample is the model's or the user's, and no random one."""
        usual = sample_of(self.inputs, None)
        return any(not np.array_equal(a, b) for a, b in zip(self.sample, usual, strict=True))

    def run(self, *arrays: Array) -> list[Array]:
        """Reference outputs for one array per input: of PyTorch eager, or for ONNX of ONNX Runtime
        or onnx.reference."""
        if self.onnx_reference is not None:
            return self.onnx_reference.outputs(arrays)
        assert self.module is not None
        return outputs_of(self.module, arrays, self.keywords)

    @cached_property
    def expected(self) -> list[Array]:
        """Reference outputs for the sample. Of an ONNX model to be asked for only once its graph is
        verified, which settles who the reference is."""
        return self.run(*self.sample)

    def run_in_double(self, *arrays: Array) -> list[Array] | None:
        """The same in fp64; ``None`` for ONNX, and for a module that does not run so."""
        if self.module is None:
            return None
        return in_double(self.module, arrays, self.keywords)

    def run_off(self, *arrays: Array) -> list[Array] | None:
        """The same with every operator's results off by a rounding, for ONNX with weights and
        inputs so; ``None`` for a module that does not run so."""
        if self.onnx_reference is not None:
            return self.onnx_reference.outputs_off(arrays)
        assert self.module is not None
        return one_rounding_off(self.module, arrays, self.keywords)


def load(
    spec: str,
    *,
    weights: str | None = None,
    input_shape: Shape | str | None = None,
    inputs: Sequence[InputSpec] = (),
    sample: str | Path | None = None,
) -> LoadedModel:
    """Load and check a model.

    Parameters
    ----------
    spec: a name of the zoo, ``path/to/file.py:factory``, ``model.pt2``, ``model.onnx``, or a file
        of TorchScript.
    weights: checkpoint for a zoo name or a factory, see :func:`apply_weights`.
    input_shape: of the one input, as integers or ``"1x3x224x224"``.
    inputs: of several, or of other types, instead. By default what the model says
        (``example_inputs`` or ``example_input_shape`` of a factory's module, the program, the ONNX
        graph), else one of 1x3x224x224.
    sample: a ``.npy`` or ``.npz`` file with inputs of the model's own domain; it says their shapes
        where nothing else does.

    Raises :class:`UsageError` for arguments without meaning and :class:`ModelError` for a model
    that cannot be used; both say what to do.
    """
    given = asked(input_shape, inputs, sample)
    path, colon, factory = spec.rpartition(":")
    suffix, script = Path(spec).suffix, torchscript.is_script_file(Path(spec))
    if suffix in (".pt2", ".onnx") or script:
        if weights is not None:
            raise UsageError(
                f"--weights cannot be used with {spec}",
                why=f"a {suffix} file carries its weights",
                fix="leave --weights away",
            )
        if script:
            return _from_script(torchscript.load_script(Path(spec)), Path(spec).stem, spec, given)
        return _load_pt2(spec, given) if suffix == ".pt2" else _load_onnx(spec, given)
    if colon and path.endswith(".py"):
        module = call_factory(Path(path), factory)
    elif spec in models.NAMES:
        factory, module = spec, models.create(spec)
    else:
        raise _unknown(spec)
    if weights is not None:
        apply_weights(module, weights)
    return checked(module, factory, spec, given)


def _unknown(spec: str) -> Exception:
    """The error for a spec that is neither a file this loads nor in the zoo."""
    path = Path(spec)
    if path.suffix == ".py":
        return UsageError(
            f"{spec} does not say which model of the file to load",
            fix=f"pass --model {spec}:factory, where factory() returns the nn.Module",
        )
    if path.suffix in SUFFIXES:
        return UsageError(
            f"{spec} holds weights and no model",
            fix=f"name the model and pass the file as --weights {spec}",
        )
    if "/" in spec or ":" in spec or path.suffix or path.exists():
        what = "cannot be loaded as a model" if path.exists() else "does not exist"
        return ModelError(
            f"The file {spec} {what}",
            fix="pass a zoo name, file.py:factory, model.pt2, model.onnx or TorchScript",
        )
    try:
        models.create(spec)
    except UsageError as error:
        return error
    raise AssertionError(f"{spec} is in the zoo")


def from_module(
    module: nn.Module,
    name: str,
    *,
    input_shape: Shape | None = None,
    inputs: Sequence[InputSpec] = (),
    sample: str | Path | None = None,
) -> LoadedModel:
    """Check a module, switching it to eval mode; the rest as in :func:`load`."""
    return checked(module, name, name, asked(input_shape, inputs, sample))


def checked(module: nn.Module, name: str, spec: str, given: Asked) -> LoadedModel:
    """Raises :class:`UsageError` and :class:`ModelError` as :func:`load` does."""
    free_of_inference_mode(module.eval())
    if isinstance(module, torch.jit.ScriptModule):
        return _from_script(module, name, spec, given)
    module, remarks = in_single(module)
    check_tensors(named_tensors(module))
    inputs, keywords = module_inputs(module, given)
    sample = given.sample
    if sample is None and not given.inputs:
        sample = {str(n): x.detach().numpy() for n, x in enumerate(examples(module))}
    arrays, outputs = check_forward(module, inputs, sample, keywords)
    return LoadedModel(
        module, None, None, inputs, _short(name), spec or name, arrays, outputs, keywords,
        remarks=remarks,
    )  # fmt: skip


def _from_script(script: torch.jit.ScriptModule, name: str, spec: str, given: Asked) -> LoadedModel:
    check_tensors(named_tensors(script))
    inputs = torchscript.script_inputs(script, given)
    arrays, outputs = check_forward(script, inputs, given.sample)
    module = torchscript.plain_module(script, arrays)
    return LoadedModel(module, None, None, inputs, _short(name), spec, arrays, outputs)


def _load_pt2(spec: str, given: Asked) -> LoadedModel:
    program = pt2.load_program(Path(spec))
    inputs = pt2.inputs(program)
    fitted(inputs, given, spec)
    module = pt2.plain_module(program)
    check_tensors(named_tensors(module))
    arrays, outputs = check_forward(module, inputs, given.sample)
    return LoadedModel(
        module, program, None, inputs, _short(Path(spec).stem), spec, arrays, outputs
    )


def _load_onnx(spec: str, given: Asked) -> LoadedModel:
    from tvm_flow.frontend import onnx as onnx_frontend  # noqa: PLC0415 - imports TVM

    model, remarks = onnx_frontend.load_onnx(Path(spec), given.specs)
    inputs = onnx_frontend.inputs(model)
    fitted(inputs, given, spec)
    outputs = onnx_frontend.output_names(model)
    reference = onnx_frontend.Reference(model)
    arrays = onnx_frontend.runnable_sample(reference, inputs, given.sample)
    name = _short(Path(spec).stem)
    return LoadedModel(
        None, None, model, inputs, name, spec, arrays, outputs, onnx_reference=reference,
        remarks=remarks,
    )  # fmt: skip


def _short(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)
