"""The command line: one verb per public function. See :func:`main` for exit codes.

Start-up matters here: TVM, torch and rich are imported by the verbs that need them.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from tvm_flow.support.collector import collect_seldom
from tvm_flow.support.errors import TvmFlowError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
BUG = 70  # EX_SOFTWARE of sysexits.h


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 success; 1 to 11 an expected failure, see ``support/errors.py`` (2: usage); 70 a bug in
    tvm-flow; 130 Ctrl-C. A failure is one line on standard error; ``--debug`` adds the traceback.
    """
    collect_seldom()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    if not debug:
        warnings.simplefilter("ignore")
        # After Ctrl-C in the middle of a library's clean-up its finalisers fail, which Python tells
        # with a traceback.
        sys.unraisablehook = lambda _: None
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough: tvm-flow models | head -1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _failed(error, debug)
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return code


def _run(arguments: list[str]) -> int:
    import typer  # noqa: PLC0415 - after the handling of errors is in place

    from tvm_flow.cli.app import app  # noqa: PLC0415

    command = typer.main.get_command(app)
    result = command.main(args=arguments, prog_name="tvm-flow", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _failed(error: Exception, debug: bool) -> int:
    """Tell ``error`` in one line; its exit code."""
    from typer import TyperException  # noqa: PLC0415

    if debug:
        traceback.print_exception(error)
    if isinstance(error, TvmFlowError):
        code, line = error.exit_code, str(error)
    elif isinstance(error, TyperException):
        code = error.exit_code
        line = f"{error.format_message().rstrip('.')}. Fix: see {_help(error)} --help"
    else:
        code = BUG
        line = f"{type(error).__name__}: {error}. This is a bug in tvm-flow; run with --debug"
    print("error:", " ".join(line.split()), file=sys.stderr, flush=True)
    if not debug:  # TVM's destructors have more to say about what was interrupted, at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return code


def _help(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "tvm-flow"
