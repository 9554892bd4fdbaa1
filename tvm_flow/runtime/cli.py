"""The command line inside a bundle (``python3 run.py``): check, classify, time."""

import argparse
import os
import sys

from tvm_flow.runtime import arrays
from tvm_flow.runtime.bundle import load
from tvm_flow.runtime.classes import top_k
from tvm_flow.support.errors import TvmFlowError

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

_NO_OUTPUT = 74  # EX_IOERR of sysexits.h


def main(directory: str, argv: "list[str] | None" = None) -> int:
    """Run the bundle in ``directory``; returns the exit code."""
    options = _parser().parse_args(argv)
    arrays.numpy_wanted = False  # all that is done here is done as well without
    try:
        code = _answer(directory, options)
        sys.stdout.flush()
        return code
    except TvmFlowError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except OSError as error:
        # the interpreter would try to write the rest once more while it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno() if sys.stdout else 1)
        sys.stderr.write(f"error: cannot print: {error.strerror or error}\n")
        return _NO_OUTPUT
    except MemoryError:
        sys.stderr.write("error: there is not enough memory\n")
        return 10


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py", description="Run this compiled network.")
    parser.add_argument("input", nargs="*", help="picture, .npy or raw .bin; one per input")
    parser.add_argument("--threads", type=int, help="worker threads (default: as compiled for)")
    parser.add_argument("--runs", type=int, default=50, help="timed runs (0: no timing)")
    parser.add_argument("--top", type=int, default=5, help="classes to print")
    parser.add_argument("--check", action="store_true", help="compare with the stored result")
    return parser


def _answer(directory: str, options: argparse.Namespace) -> int:
    bundle = load(directory, threads=options.threads, pin=True)
    if options.check:
        error = bundle.check()
        text = "check passed: max relative error {:.2e} (tolerance {:.0e})"
        _say(text.format(error, bundle.tolerance))
    bundle.set_inputs(*options.input)
    made = bundle.run()
    first = made[0] if isinstance(made, tuple) else made
    for index, probability, label in top_k(first, options.top, bundle.labels):
        _say(f"{100 * probability:6.2f} %  {index:5d}  {label}")
    if options.runs > 0:
        spec = bundle.inputs[0]
        batch = spec.shape[0] if spec.shape else 1
        text = "{}, {} thread(s), batch {}, {}:\n  {}"
        timing = bundle.time(options.runs)
        said = text.format(bundle.model, bundle.threads, batch, spec.dtype, timing)
        _say(said + (" EMULATED: says nothing about a board" if _emulated() else ""))
    return 0


def _emulated() -> bool:
    """Under QEMU's user mode, files tell of the host's CPU: sysfs, and /proc/cpuinfo, which then
    names no Arm core; newer versions of QEMU make one up there."""
    if os.uname().machine != "aarch64":
        return False
    kind, cores = _content("/sys/devices/system/cpu/modalias"), _content("/proc/cpuinfo")
    return kind.startswith(b"cpu:type:x86") or (bool(cores) and b"CPU implementer" not in cores)


def _content(path: str) -> bytes:
    """Nothing where there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _say(text: str) -> None:
    """Print; what the terminal's encoding lacks is shown as question marks."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
