"""Keep what PyTorch and TVM print besides their exceptions away from the user."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block nothing is printed, warned or logged below ``CRITICAL``.

    Export and import print deprecation warnings of their own internals, tracebacks of errors they
    recover from, and whole graphs before an exception whose message says the same.
    """
    previous = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(previous)
