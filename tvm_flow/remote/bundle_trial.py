"""In the board worker: a bundle on a board, and PyTorch eager there where it is installed."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.measure.stats import worst_rel_error
from tvm_flow.remote.board_bundle import BoardBundle, BundleRefused
from tvm_flow.remote.health import Throttled, require_steady, throttling
from tvm_flow.remote.protocol import REFUSED, BundleAnswer, BundleRequest, EagerTimes
from tvm_flow.remote.session import BoardSession
from tvm_flow.support.resources import package_file
from tvm_flow.tuning.records.record import OK

Array = NDArray[Any]
#: Where docs/boards.md puts PyTorch, and what the board calls Python.
_PYTHONS = ("/opt/torch/bin/python3", "python3")
_FIND_TORCH = "import torch, sys; sys.stdout.write(torch.__version__)"


def compare(session: BoardSession, request: BundleRequest) -> BundleAnswer:
    """Run the bundle ``runs`` times after a warm-up; then eager as often; then the bundle again, so
    that a board that slows down meanwhile is noticed."""
    try:
        return _compared(session, request)
    except BundleRefused as refused:
        return BundleAnswer(REFUSED, str(refused), refusal=refused.status)


def _compared(session: BoardSession, request: BundleRequest) -> BundleAnswer:
    network = BoardBundle(
        session, request.directory, request.library, request.threads, request.cores
    )
    wanted = _arrays(request, request.expected)
    outputs = network(_arrays(request, request.inputs))
    error = worst_rel_error(outputs, wanted)
    log = [session.status()]
    verdict = _steady(session)
    first = network.times(request.runs)
    eager = _eager(session, request, log[0], outputs)
    second = network.times(request.runs) if eager.seconds else []
    log.append(session.status())
    verdict = verdict or throttling(log[0], log[-1])
    seconds, drift = (*first, *second), _drift(first, second)
    return BundleAnswer(OK, "", error, seconds, eager, tuple(log), verdict, drift)


def _eager(
    session: BoardSession, request: BundleRequest, status: dict[str, Any], ours: Sequence[Array]
) -> EagerTimes:
    """PyTorch on the board, compared with what the bundle computed there (``ours``)."""
    if not session.ours:
        return EagerTimes("TVM's own RPC server cannot start it there")
    if status.get("emulated"):
        return EagerTimes("an emulated board has none, and its times mean nothing")
    if request.program is None:
        return EagerTimes("the model has no PyTorch program")
    interpreter, version = _interpreter(session)
    if not interpreter:
        return EagerTimes(f"PyTorch is not installed on the board (tried {', '.join(_PYTHONS)})")
    session.upload(package_file("remote", "eager_on_board.py"), "eager.py")
    session.upload(request.program, "model.pt2")
    _upload_sample(session, request, "x.npz")
    argv = [interpreter, "eager.py", "model.pt2", "x.npz", "y.npz", str(request.threads),
            str(request.runs), ",".join(map(str, request.cores))]  # fmt: skip
    done = session.execute(argv, request.eager_s)
    if done["timed_out"] or done["code"] != 0:
        words = (done["stderr"].strip().splitlines() or ["no message"])[-1]
        cause = "it took too long" if done["timed_out"] else words
        return EagerTimes(f"PyTorch {version} there did not run it: {cause}")
    told = json.loads(done["stdout"].splitlines()[-1])
    with np.load(io.BytesIO(session.download("y.npz"))) as saved:
        theirs = [saved[name] for name in saved.files]
    error = _difference(request, ours, theirs)
    return EagerTimes("", tuple(told["seconds"]), told["torch"], error)


def _upload_sample(session: BoardSession, request: BundleRequest, name: str) -> None:
    """The bundle's sample as PyTorch takes it, all inputs in their order."""
    inputs = _arrays(request, request.inputs)
    with io.BytesIO() as file:
        np.savez(file, *(_nchw(request, array) for array in inputs))
        session.upload_bytes(file.getvalue(), name)


def _arrays(request: BundleRequest, names: Sequence[str]) -> list[Array]:
    return [np.load(request.directory / name) for name in names]


def _difference(request: BundleRequest, ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """Infinite where the outputs have not even the same shapes: they are of different networks."""
    try:
        return worst_rel_error([_nchw(request, array) for array in ours], theirs)
    except ValueError:
        return float("inf")


def _nchw(request: BundleRequest, array: Array) -> Array:
    if request.layout != "NHWC" or array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _interpreter(session: BoardSession) -> tuple[str, str]:
    """The first Python on the board that has PyTorch, and which; or two empty texts."""
    for python in _PYTHONS:
        found = session.execute([python, "-c", _FIND_TORCH], 120.0)
        if found["code"] == 0:
            return python, str(found["stdout"])
    return "", ""


def _steady(session: BoardSession) -> str:
    """Wait for the board to cool; why its times are not to be trusted, or an empty text."""
    try:
        require_steady(session)
    except Throttled as hot:
        return str(hot)
    return ""


def _drift(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Median of the second half over the first, where there are two."""
    return float(np.median(second) / np.median(first)) if second else None
