"""A bundle against PyTorch eager: same cores, same threads, same inputs; time and numerics."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tvm_flow.frontend.inputs import Asked, sample_of
from tvm_flow.frontend.signature import module_inputs
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.measure.eager import VARIANTS, fold_batch_norm, load_module
from tvm_flow.measure.rounds import Measurement
from tvm_flow.measure.stats import worst_rel_error
from tvm_flow.measure.timing import ROUND_S, Contestant, Race
from tvm_flow.runtime.timing import Timing
from tvm_flow.support import manifest
from tvm_flow.support.errors import ModelError, UsageError

Array = NDArray[Any]
RANDOM_INPUTS = 3


@dataclass(frozen=True)
class Numerics:
    """Bundle against plain eager over several inputs: the worst error and cosine of any output for
    any of them, and the share of rows of the first output whose largest logit is the same class."""

    max_rel_error: float
    cosine: float
    top1_agreement: float
    inputs: int
    outputs: int


@dataclass(frozen=True)
class CompareResult:
    """One model, one bundle, one thread count. Times are per run, in milliseconds.

    ``speedup``: plain eager over bundle; ``speedup_best_eager``: the quickest eager variant over
    bundle; both are medians of per-round ratios. The two folded variants are ``None`` where
    torch.fx cannot trace the model. Where ``valid`` is false the rounds were disturbed by what
    ``reason`` says, and the times should not be quoted. ``cache_line_ns``: one way between the
    cores, over the rounds; empty for one thread, and where it was not measured.
    """

    model: str
    target: str
    threads: int
    input_shape: tuple[int, ...]
    eager: Timing
    bundle: Timing
    speedup: float
    speedup_best_eager: float
    numerics: Numerics
    rounds: int
    disturbed_rounds: int
    valid: bool
    reason: str
    cache_line_ns: tuple[float, ...] = ()
    eager_bn_folded: Timing | None = None
    eager_channels_last: Timing | None = None

    def to_json(self) -> dict[str, Any]:
        """A flat, stable document; keys are the names of the fields and of :class:`Numerics`."""
        timings = {name: getattr(self, name) for name in (*VARIANTS, "bundle")}
        return {
            "model": self.model,
            "target": self.target,
            "threads": self.threads,
            "input_shape": list(self.input_shape),
            **{name: timing and timing.to_json() for name, timing in timings.items()},
            "speedup": self.speedup,
            "speedup_best_eager": self.speedup_best_eager,
            "max_rel_error": self.numerics.max_rel_error,
            "cosine": self.numerics.cosine,
            "top1_agreement": self.numerics.top1_agreement,
            "inputs_compared": self.numerics.inputs,
            "outputs_compared": self.numerics.outputs,
            "rounds": self.rounds,
            "disturbed_rounds": self.disturbed_rounds,
            "valid": self.valid,
            "reason": self.reason,
            "cache_line_ns": list(self.cache_line_ns),
        }


def compare(
    model: str | nn.Module,
    bundle_dir: Path | str,
    *,
    threads: Sequence[int] = (1, 2),
    weights: str | None = None,
    inputs: Sequence[Array | Sequence[Array]] = (),
    rounds: int = 20,
    round_s: float = ROUND_S,
) -> list[CompareResult]:
    """Compare a bundle with the model it was compiled from, once per thread count.

    Parameters
    ----------
    model: what ``compile`` took (a name of the zoo, a file, ``package:function``), or a module,
        which is pickled and must therefore be importable.
    inputs: further inputs (NCHW; of a network that takes several an array for each) whose results
        are compared, besides the stored sample and three random ones.
    rounds: undisturbed rounds wanted; each competitor runs ``round_s`` seconds in each.

    Raises :class:`UsageError`, :class:`BundleError`, :class:`ModelError`,
    :class:`MeasurementError`.
    """
    directory = Path(bundle_dir)
    info = manifest.verify(directory)
    further = [[one] if isinstance(one, np.ndarray) else list(one) for one in inputs]
    arrays = _inputs(directory, info, further)
    specs = [
        InputSpec(array.shape, str(array.dtype), entry["name"])
        for array, entry in zip(arrays[0], info.data["inputs"], strict=True)
    ]
    with ExitStack() as stack:
        options: dict[str, Any]
        if isinstance(model, nn.Module):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm-flow-compare-"))
            options = {"pickled": str(Path(folder) / "module.pt")}
            torch.save(model, options["pickled"])
            module, (_, keywords) = model, module_inputs(model, Asked(tuple(specs)))
        else:
            shapes = [(spec.shape, spec.dtype, spec.name) for spec in specs]
            options = {"spec": model, "weights": weights, "inputs": shapes}
            module, keywords = load_module(model, weights=weights, inputs=specs)
        options["keywords"] = keywords
        contestants = {
            name: Contestant("tvm_flow.measure.eager:contestant", {**options, "variant": name})
            for name in _possible_variants(module)
        }
        contestants["bundle"] = Contestant(
            "tvm_flow.measure.bundle_contestant:contestant",
            {"directory": str(directory.absolute())},
        )
        results = []
        for count in threads:
            with Race(contestants, threads=count) as race:
                # The sample comes last, so that it is what is timed.
                outputs = {
                    name: [race.outputs_of(name, *given) for given in reversed(arrays)]
                    for name in contestants
                }
                _require_alike(outputs["bundle"][0], outputs["eager"][0])
                measured = race.measure(rounds, round_s)
            agreement = numerics(outputs["bundle"], outputs["eager"])
            results.append(_result(info, count, specs[0].shape, measured, agreement))
        return results


def _possible_variants(module: nn.Module) -> tuple[str, ...]:
    try:
        fold_batch_norm(module)
    except ModelError:
        return VARIANTS[:1]
    return VARIANTS


def _inputs(
    directory: Path, info: manifest.Manifest, extra: list[list[Array]]
) -> list[list[Array]]:
    """The sample, random inputs and ``extra``, one array per input, all NCHW.

    Where the sample is not random itself, it says what the network takes: then the others are its
    values in another order.
    """
    sample = [_nchw(np.load(directory / name), info) for name in info.data["sample"]["inputs"]]
    for arrays in extra:
        given, wanted = ([(a.shape, a.dtype) for a in some] for some in (arrays, sample))
        if given != wanted:
            shown = ", ".join(f"{shape} {dtype}" for shape, dtype in given)
            raise UsageError(
                f"an input to compare is {shown}",
                why="the bundle was compiled for "
                + ", ".join(f"{shape} {dtype}" for shape, dtype in wanted),
                fix="pass inputs of the bundle's shapes and types",
            )
    rng = np.random.default_rng(0)
    specs = [InputSpec(array.shape, str(array.dtype)) for array in sample]
    usual = [
        array.dtype.kind == "f" and np.array_equal(array, random)
        for array, random in zip(sample, sample_of(specs, None), strict=True)
    ]

    def another() -> list[Array]:
        return [
            rng.standard_normal(array.shape, np.float32).astype(array.dtype)
            if plain
            else rng.permutation(array.ravel()).reshape(array.shape)
            for array, plain in zip(sample, usual, strict=True)
        ]

    return [sample, *(another() for _ in range(RANDOM_INPUTS)), *extra]


def _nchw(array: Array, info: manifest.Manifest) -> Array:
    if info.layout != "NHWC" or array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _result(
    info: manifest.Manifest,
    threads: int,
    shape: tuple[int, ...],
    measured: Measurement,
    agreement: Numerics,
) -> CompareResult:
    eager = [name for name in VARIANTS if name in measured.timings]
    best = min(eager, key=lambda name: measured.timings[name].median_ms)
    return CompareResult(
        model=info.model,
        target=str(info.target["board"]),
        threads=threads,
        input_shape=shape,
        **measured.timings,
        speedup=measured.ratio("eager", "bundle").median,
        speedup_best_eager=measured.ratio(best, "bundle").median,
        numerics=agreement,
        rounds=len(measured.rounds["bundle"]),
        disturbed_rounds=measured.disturbed_rounds,
        valid=measured.valid,
        reason=measured.reason,
        cache_line_ns=measured.cache_line_ns,
    )


def _require_alike(bundle: Sequence[Array], eager: Sequence[Array]) -> None:
    """Raise :class:`UsageError` where the bundle cannot be of this model."""
    made, wanted = (", ".join("x".join(map(str, a.shape)) for a in o) for o in (bundle, eager))
    if made != wanted:
        raise UsageError(
            "The bundle is of another model",
            why=f"the model gives {wanted} and the bundle {made}",
            fix="name the model it was compiled from, or compile again",
        )


def numerics(actual: Sequence[Sequence[Array]], expected: Sequence[Sequence[Array]]) -> Numerics:
    """Compare pair by pair: for every input, every output. The last axis is the classes."""
    errors, cosines, same = [], [], []
    for made, wanted in zip(actual, expected, strict=True):
        errors.append(worst_rel_error(made, wanted))
        for a, e in zip(made, wanted, strict=True):
            x, y = a.astype(np.float64).ravel(), e.astype(np.float64).ravel()
            norms = float(np.linalg.norm(x) * np.linalg.norm(y))
            cosines.append(float(x @ y) / norms if norms else float(norms == 0))
        first, right = (np.atleast_1d(outputs[0]) for outputs in (made, wanted))
        same.append(first.argmax(-1).ravel() == right.argmax(-1).ravel())
    agreement = float(np.concatenate(same).mean())
    return Numerics(max(errors), min(cosines), agreement, len(expected), len(expected[0]))
