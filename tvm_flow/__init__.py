"""tvm-flow: compile and tune PConv/ShuffleNet-style PyTorch networks for small boards with TVM.

Everything the command line does is a function here::

    import tvm_flow

    report = tvm_flow.compile("fasternet_t0", target="native", output="build/t0")
    bundle = tvm_flow.load(report.path)
    logits = bundle(array)  # (1, 3, 224, 224) float32 -> (1, 1000)

``import tvm_flow`` is cheap: TVM and torch are imported by the first function that needs them.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from tvm_flow.support.version import __version__ as __version__

if os.path.expanduser("~") == "~":
    # Neither HOME nor an entry in the password database, as in many containers. TVM cannot be
    # imported without a home; one in which nothing can be made is enough for it.
    os.environ["HOME"] = os.devnull

#: public name -> module that defines it
_EXPORTS = {
    "advise": "tvm_flow.api.advise",
    "AdviceReport": "tvm_flow.api.advise",
    "analyze": "tvm_flow.api.analyze",
    "AnalysisReport": "tvm_flow.api.analyze",
    "analyze_both": "tvm_flow.api.analyze",
    "trace": "tvm_flow.api.trace",
    "TraceReport": "tvm_flow.api.trace",
    "tune": "tvm_flow.api.tune",
    "TuneReport": "tvm_flow.tuning.search.report",
    "compile": "tvm_flow.api.compile",
    "CompileReport": "tvm_flow.api.compile_report",
    "load": "tvm_flow.runtime.bundle",
    "Bundle": "tvm_flow.runtime.bundle",
    "check": "tvm_flow.api.check",
    "CheckReport": "tvm_flow.api.check",
    "run": "tvm_flow.api.run",
    "RunReport": "tvm_flow.api.run",
    "compare": "tvm_flow.api.compare",
    "CompareResult": "tvm_flow.report.compare",
    "profile": "tvm_flow.api.profile",
    "diagnose": "tvm_flow.api.doctor",
    "Input": "tvm_flow.api.values",
    "Model": "tvm_flow.api.values",
    "Picture": "tvm_flow.api.picture",
    "Target": "tvm_flow.api.values",
    "Tracker": "tvm_flow.api.values",
    "TvmFlowError": "tvm_flow.support.errors",
}

if TYPE_CHECKING:
    from tvm_flow.api.advise import AdviceReport as AdviceReport
    from tvm_flow.api.advise import advise as advise
    from tvm_flow.api.analyze import AnalysisReport as AnalysisReport
    from tvm_flow.api.analyze import analyze as analyze
    from tvm_flow.api.analyze import analyze_both as analyze_both
    from tvm_flow.api.check import CheckReport as CheckReport
    from tvm_flow.api.check import check as check
    from tvm_flow.api.compare import compare as compare
    from tvm_flow.api.compile import compile as compile
    from tvm_flow.api.compile_report import CompileReport as CompileReport
    from tvm_flow.api.doctor import diagnose as diagnose
    from tvm_flow.api.picture import Picture as Picture
    from tvm_flow.api.profile import profile as profile
    from tvm_flow.api.run import RunReport as RunReport
    from tvm_flow.api.run import run as run
    from tvm_flow.api.trace import TraceReport as TraceReport
    from tvm_flow.api.trace import trace as trace
    from tvm_flow.api.tune import tune as tune
    from tvm_flow.api.values import Input as Input
    from tvm_flow.api.values import Model as Model
    from tvm_flow.api.values import Target as Target
    from tvm_flow.api.values import Tracker as Tracker
    from tvm_flow.report.compare import CompareResult as CompareResult
    from tvm_flow.runtime.bundle import Bundle as Bundle
    from tvm_flow.runtime.bundle import load as load
    from tvm_flow.support.errors import TvmFlowError as TvmFlowError
    from tvm_flow.tuning.search.report import TuneReport as TuneReport


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tvm_flow' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
