"""What a user says of a network's inputs, held against what the network says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.ir.inputs import INPUT_TYPES, InputSpec
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.support.errors import ModelError, UsageError

Array = NDArray[Any]
Shape = tuple[int, ...]
SAMPLE_SEED = 0
#: Integers of a random sample are below these, the first with which the network runs: a table of
#: an embedding may be small.
BOUNDS = (256, 32, 4, 1)
_LARGEST = 1 << 40  # elements; more is a typing error
_UNNAMED = re.compile(r"arr_(\d+)")  # what np.savez calls arrays without a name


@dataclass(frozen=True)
class Asked:
    """``inputs``: in the order given; ``sample``: arrays by name, unnamed ones under their
    number as text. Both may be empty."""

    inputs: tuple[InputSpec, ...] = ()
    sample: Mapping[str, Array] | None = None

    @property
    def specs(self) -> tuple[InputSpec, ...]:
        """What is said of inputs, by the sample where nothing else is."""
        if self.inputs or not self.sample:
            return self.inputs
        return tuple(
            InputSpec(array.shape, _own_type(array), "" if name.isdigit() else name)
            for name, array in self.sample.items()
        )


def asked(
    input_shape: Shape | str | None = None,
    inputs: Sequence[InputSpec] = (),
    sample: str | Path | None = None,
) -> Asked:
    """Raises :class:`UsageError` for shapes and types that are none, and for a sample that cannot
    be read."""
    given = [InputSpec(parse_shape(input_shape))] if isinstance(input_shape, str) else []
    if input_shape is not None and not given:
        given = [InputSpec(_integers(input_shape))]
    if given and inputs:
        raise UsageError("An input shape and inputs are given", fix="give the inputs alone")
    for spec in given + list(inputs):
        _require_sound(spec)
    named = [spec.name for spec in inputs if spec.name]
    if len(set(named)) < len(named):
        raise UsageError("An input is named twice", why=", ".join(named), fix="name each once")
    return Asked((*given, *inputs), None if sample is None else read_sample(Path(sample)))


def parse_shape(text: str) -> Shape:
    """``"1x3x224x224"`` -> (1, 3, 224, 224). Raises :class:`UsageError` for anything else."""
    if not re.fullmatch(r"[1-9]\d{0,12}(x[1-9]\d{0,12})*", text.strip()):
        raise UsageError(
            f"{text!r} is not a shape",
            why="positive integers joined by x were expected",
            fix="write it like --input 1x3x224x224",
        )
    return tuple(int(size) for size in text.strip().split("x"))


def _integers(shape: Any) -> Shape:
    try:
        return tuple(shape)
    except TypeError:
        raise _no_shape(shape) from None


def _require_sound(spec: InputSpec) -> None:
    sizes = [isinstance(size, int) and size >= 0 for size in spec.shape]
    if not all(sizes) or np.prod(spec.shape, dtype=float) > _LARGEST:
        raise _no_shape(spec.shape)
    if spec.dtype and spec.dtype not in INPUT_TYPES:
        raise UsageError(
            f"{spec.dtype!r} is not a type of inputs", fix=f"one of {', '.join(INPUT_TYPES)}"
        )


def _no_shape(shape: Any) -> UsageError:
    return UsageError(
        f"{shape} is not a shape",
        why="positive integers were expected",
        fix="pass a tuple such as (1, 3, 224, 224)",
    )


def read_sample(path: Path) -> dict[str, Array]:
    """Arrays of a ``.npy`` or ``.npz`` file by name; without one by their number. Raises
    :class:`UsageError`."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"0": loaded}
        else:
            with loaded:
                arrays = {_key(name): np.asarray(loaded[name]) for name in loaded.files}
    except Exception as error:  # NumPy and zipfile raise many types for a damaged file
        raise UsageError(
            f"Cannot read the sample {path}",
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="write it with np.save(path, x), or np.savez(path, name=x, other=y)",
        ) from error
    wrong = [name for name, array in arrays.items() if array.dtype.kind not in "fiub"]
    if wrong or not arrays:
        raise UsageError(
            f"The sample {path} is no array of numbers",
            why=f"{wrong[0]} is {arrays[wrong[0]].dtype}" if wrong else "it holds none",
            fix="write it with np.save(path, x), or np.savez(path, name=x, other=y)",
        )
    return arrays


def _key(name: str) -> str:
    unnamed = _UNNAMED.fullmatch(name)
    return unnamed[1] if unnamed else name


def _own_type(array: Array) -> str:
    """NumPy makes float64 of what no type is said of: that is fp32 unless the network says."""
    return "" if array.dtype.kind == "f" else str(array.dtype)


def fitted(own: Sequence[InputSpec], given: Asked, what: str) -> None:
    """Hold what the user says against inputs that the network fixes. Raises :class:`UsageError` for
    a name that it has not, and :class:`ModelError` for another shape or type."""
    for spec, wanted in zip(given.specs, placed(given.specs, [s.name for s in own], what),
                            strict=True):  # fmt: skip
        fixed = own[wanted]
        if spec.shape != fixed.shape or (spec.dtype or fixed.dtype) != fixed.dtype:
            raise ModelError(
                f"{what} cannot take an input of {spec}",
                why=f"it was exported for {replace(fixed, name='')}",
                fix=f"leave --input away, or export the model again for {spec}",
            )


def placed(given: Sequence[InputSpec], names: Sequence[str], what: str) -> list[int]:
    """Which of the inputs ``names`` each is: by name, or the first that is free. Raises
    :class:`UsageError`."""
    taken = {spec.name for spec in given if spec.name}
    if unknown := sorted(taken - set(names)):
        raise UsageError(
            f"{what} has no input {unknown[0]}",
            why=f"it takes {', '.join(names) or 'none'}",
            fix="name one of these, or give shapes in their order",
        )
    free = [number for number, name in enumerate(names) if name not in taken]
    unnamed = sum(not spec.name for spec in given)
    if unnamed > len(free):
        raise UsageError(
            f"{what} takes {len(names)} input(s), {len(given)} given",
            why=f"they are {', '.join(names)}",
            fix="give one --input for each",
        )
    rest = iter(free)
    return [names.index(spec.name) if spec.name else next(rest) for spec in given]


def sample_of(
    specs: Sequence[InputSpec], given: Mapping[str, Array] | None, bound: int = BOUNDS[0]
) -> tuple[Array, ...]:
    """One array per input: the user's, or random and the same every time: normal deviates,
    integers of 0 to ``bound`` - 1. Raises :class:`UsageError` for one that does not fit."""
    rng = np.random.default_rng(SAMPLE_SEED)
    found = []
    left = dict(given or {})
    for number, spec in enumerate(specs):
        own = left.pop(spec.name, None)
        own = left.pop(str(number), None) if own is None else own
        found.append(_random(rng, spec, bound) if own is None else _converted(own, spec))
    if left:
        raise UsageError(
            f"The sample has an array {sorted(left)[0]} too many",
            why=f"the network takes {', '.join(spec.name for spec in specs)}",
            fix="name arrays as inputs are named, or leave the names away",
        )
    return tuple(found)


def _random(rng: np.random.Generator, spec: InputSpec, bound: int) -> Array:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(spec.shape, FLOAT32.numpy), dtype)
    if dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, spec.shape), dtype)
    most = min(bound, int(np.iinfo(dtype).max) + 1)
    return np.asarray(rng.integers(0, most, spec.shape), dtype)


def _converted(array: Array, spec: InputSpec) -> Array:
    dtype = np.dtype(spec.dtype)
    alike = array.dtype == dtype or (array.dtype.kind, dtype.kind) in (("f", "f"), ("i", "i"))
    if array.shape != spec.shape or not alike:
        raise UsageError(
            f"The sample of {spec.name} is {array.shape} {array.dtype}",
            why=f"the network takes {spec.shape} {spec.dtype}",
            fix="write an array of that shape and type",
        )
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(array.astype(dtype)).reshape(spec.shape)
    if array.dtype.kind == "f" and not np.isfinite(made).all():
        raise UsageError(
            f"The sample of {spec.name} contains NaN or infinity", fix="use another sample"
        )
    return made


def typed(spec: InputSpec) -> InputSpec:
    """With fp32 where no type is said."""
    return replace(spec, dtype=spec.dtype or FLOAT32.value)
