"""TVM's real RPC client: ``client.py TRACKER_PORT KEY SCENARIO [ARGUMENT...]`` prints JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

sys.modules["torch"] = None  # type: ignore[assignment]  # tvm_ffi would import it, for nothing

import tvm  # noqa: E402
from tvm import rpc  # noqa: E402

SESSION_S = 30


def execute(session: Any, *argv: str, timeout_s: float = 20.0) -> Any:
    order = {"argv": argv, "timeout_s": timeout_s, "cwd_is_workdir": True}
    return json.loads(session.get_function("tvm_flow.board.exec")(json.dumps(order)))


def failure(action: Any) -> dict[str, Any]:
    """What an action that must fail says, and after how long."""
    start = time.monotonic()
    try:
        action()
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return {"error": lines[-1], "seconds": time.monotonic() - start}
    return {"error": None, "seconds": time.monotonic() - start}


def kernel(session: Any, library: str) -> Any:
    """``add`` of the library on the board, in each way the server offers."""
    session.upload(library, "add.so")
    device = session.cpu()
    pairs = [(np.full(64, start, "float32"), np.zeros(64, "float32")) for start in (1.0, 2.0)]
    tensors = [[tvm.runtime.tensor(array, device) for array in pair] for pair in pairs]
    session.get_function("tvm_flow.board.load")("add.so")
    session.get_function("tvm_flow.board.run")("add.so", "add", *tensors[0])
    seconds = session.get_function("tvm_flow.board.time")(
        "add.so", "add", 100, 2, 2, *tensors[0], *tensors[1]
    )
    by_module = session.load_module("add.so")
    by_module["add"](tensors[0][1], tensors[1][0])  # 2 + 1, where 2 was
    return {
        "out": [float(out.numpy()[0]) for _, out in tensors],
        "chained": float(tensors[1][0].numpy()[63]),
        "seconds": seconds,
        "unknown": failure(lambda: session.get_function("tvm_flow.board.run")("add.so", "nothing"))[
            "error"
        ],
        "miscounted": failure(
            lambda: session.get_function("tvm_flow.board.time")("add.so", "add", 1, 2, 2)
        )["error"],
    }


def status(session: Any) -> Any:
    return json.loads(session.get_function("tvm_flow.board.status")())


def programs(session: Any) -> Any:
    return {
        "shell": execute(session, "sh", "-c", "pwd; echo wrong >&2; exit 3"),
        "missing": execute(session, "/no/such/program"),
        "bytes": execute(session, "printf", r"a\377b"),
        "much": len(execute(session, "head", "-c", "3000000", "/dev/zero")["stdout"]),
        "slow": execute(session, "sh", "-c", "sleep 61.25 & sleep 62.25", timeout_s=0.5),
        "killed": execute(session, "sh", "-c", "kill -9 $$")["code"],
        "nonsense": failure(lambda: session.get_function("tvm_flow.board.exec")("{"))["error"],
    }


def files(session: Any) -> Any:
    session.upload(bytearray(b"content"), "a.bin")
    content = bytes(session.download("a.bin")).decode()
    session.remove("a.bin")
    return {
        "content": content,
        "after": execute(session, "ls")["stdout"],
        "outside": failure(lambda: session.upload(bytearray(b"x"), "../x"))["error"],
    }


def crash(session: Any) -> Any:
    """Make the session's process die of a bad pointer, as a wrong kernel does."""
    return failure(lambda: execute(session, "sh", "-c", "kill -SEGV $PPID"))


def overstay(session: Any) -> Any:
    """Work for longer than the session may, with something in the background."""
    return failure(lambda: execute(session, "sh", "-c", "setsid sleep 63.25 & sleep 64.25"))


def main() -> None:
    port, key, scenario, *arguments = sys.argv[1:]
    tracker = rpc.connect_tracker("127.0.0.1", int(port))
    session = tracker.request(key, session_timeout=SESSION_S)
    print(json.dumps(globals()[scenario](session, *arguments)))


if __name__ == "__main__":
    main()
