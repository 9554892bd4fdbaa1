"""What board workers are asked beside what every worker that runs kernels is.

Besides the statuses of a trial an answer of theirs may have ``lost`` (the session broke: whose
fault it was, the tuner finds out) and ``throttled`` (the board was too hot or slow to be believed).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_flow.tuning.worker.protocol import Answer, WorkerRole

BOARD = WorkerRole("board", "tvm_flow.remote.trials:handlers")
LOST, THROTTLED, REFUSED = "lost", "throttled", "refused"


@dataclass(frozen=True)
class OpenRequest:
    """Open a session of at most ``limit_s`` seconds on the board at ``host`` and ``port``, which
    expects ``match_key``. The next request is done in it; it ends with that."""

    host: str
    port: int
    match_key: str
    limit_s: float


@dataclass(frozen=True)
class OpenAnswer(Answer):
    """``board``: what it tells of itself, empty for TVM's stock server; ``ours``: whether it runs
    our own; ``arch``: empty where it is not known; ``place``: its address."""

    board: dict[str, Any] = field(default_factory=dict)
    ours: bool = False
    arch: str = ""
    place: str = ""


@dataclass(frozen=True)
class BundleRequest:
    """Run the bundle ``directory`` with ``threads`` on ``cores``, ``runs`` times, and PyTorch eager
    as often where it is installed there.

    ``library``: what runs it there (:func:`tvm_flow.remote.board_bundle.board_library`).
    ``layout``, ``inputs``, ``expected``: the bundle's, files by name. ``program``: the network for
    eager as ``torch.export.save`` writes it, if there is one. ``eager_s``: how long that may take.
    """

    directory: Path
    library: Path
    layout: str
    inputs: tuple[str, ...]
    expected: tuple[str, ...]
    program: Path | None
    threads: int
    cores: tuple[int, ...]
    runs: int
    eager_s: float


@dataclass(frozen=True)
class EagerTimes:
    """PyTorch eager on a board: seconds of single runs, its version, and the error of what the
    bundle computed there against it; or why it was not run (``missing``)."""

    missing: str = ""
    seconds: tuple[float, ...] = ()
    torch: str = ""
    max_rel_error: float | None = None


@dataclass(frozen=True)
class BundleAnswer(Answer):
    """``seconds``: of single runs; ``max_rel_error``: against what is expected; ``board``: what it
    told of itself before and after; ``invalid``: why times are not to be trusted, or an empty text;
    ``drift``: median of the runs after eager over that of those before.

    The status is ``refused`` where libtvm_flow there said so: ``cause`` is then its sentence, and
    ``refusal`` its own status."""

    max_rel_error: float = 0.0
    seconds: tuple[float, ...] = ()
    eager: EagerTimes = EagerTimes()
    board: tuple[dict[str, Any], ...] = ()
    invalid: str = ""
    drift: float | None = None
    refusal: int = 0
