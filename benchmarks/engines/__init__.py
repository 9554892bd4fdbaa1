"""The engines compared: which environment each lives in, and what it is given.

An engine runs in a process of its own environment (``environments.py``) and loads a file one of
``formats/`` wrote, possibly in another environment: converters need PyTorch, most engines do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tvm_flow.support.errors import UsageError


@dataclass(frozen=True)
class Format:
    """A module of ``formats/`` and the environment it runs in ("" is this one).

    ``per_threads``: the file depends on the number of threads. ``keep``: it depends only on files
    that :func:`benchmarks.engines.convert.fingerprint` looks at, so it can be kept.
    """

    name: str
    environment: str
    per_threads: bool = False
    keep: bool = True


@dataclass(frozen=True)
class Engine:
    """``factory`` and ``options`` are those of :class:`tvm_flow.measure.timing.Contestant`; the
    folder of the converted network is passed as ``path_option``. ``distribution`` names the
    version."""

    name: str
    title: str
    environment: str
    distribution: str
    format: Format
    factory: str
    options: dict[str, str] = field(default_factory=dict)
    path_option: str = "path"


OURS = "tvm_flow"
#: the same without tuning records: every kernel has its default schedule
UNTUNED = "tvm_flow_untuned"
_RUNNERS = "benchmarks.engines.runners"
_PICKLED, _ONNX = Format("pytorch", "torch"), Format("onnx", "export")


def _pytorch(name: str, title: str, variant: str) -> Engine:
    factory = f"{_RUNNERS}.pytorch:contestant"
    return Engine(name, title, "torch", "torch", _PICKLED, factory, {"variant": variant})


def _engine(name: str, title: str, environment: str, distribution: str, made: Format) -> Engine:
    return Engine(name, title, environment, distribution, made, f"{_RUNNERS}.{name}:contestant")


def _bundle(name: str, title: str, form: str) -> Engine:
    """In an environment without PyTorch, as on a board."""
    made = Format(form, "", per_threads=True, keep=False)
    factory = "tvm_flow.measure.bundle_contestant:contestant"
    return Engine(name, title, "tvm-flow", "apache-tvm", made, factory, path_option="directory")


_ALL = (
    _pytorch("eager", "PyTorch eager", "eager"),
    _pytorch("eager_channels_last", "eager, BN folded, channels_last", "eager_channels_last"),
    _pytorch("torch_compile", "torch.compile (freezing, channels_last)", "compile"),
    _engine("onnx_runtime", "ONNX Runtime", "onnxruntime", "onnxruntime", _ONNX),
    _engine("openvino", "OpenVINO", "openvino", "openvino", _ONNX),
    _engine("ncnn", "ncnn", "ncnn", "ncnn", Format("ncnn", "export")),
    _engine("mnn", "MNN", "mnn", "mnn", Format("mnn", "export")),
    _engine(
        "executorch", "ExecuTorch (XNNPACK)", "executorch", "executorch",
        Format("executorch", "executorch"),
    ),
    _engine(
        "litert", "LiteRT (XNNPACK)", "litert", "ai-edge-litert", Format("litert", "litert-convert")
    ),
    _bundle(UNTUNED, "tvm-flow, zero trials", "bundle_untuned"),
    _bundle(OURS, "tvm-flow", "bundle"),
)  # fmt: skip
ENGINES: dict[str, Engine] = {engine.name: engine for engine in _ALL}
PEERS: tuple[str, ...] = tuple(name for name in ENGINES if name not in (OURS, UNTUNED))


def chosen(names: Sequence[str]) -> list[Engine]:
    """Engines by name, tvm-flow always among them. Raises :class:`UsageError` for others."""
    for name in names:
        if name not in ENGINES:
            raise UsageError(f"There is no engine {name!r}", fix=f"choose of {', '.join(ENGINES)}")
    return [engine for engine in _ALL if engine.name in {*names, OURS}]
