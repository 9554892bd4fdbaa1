from __future__ import annotations

import signal

pytest_plugins = [
    "tests.support.system",
    "tests.support.tiers",
    "tests.support.shards",
]


def pytest_configure() -> None:
    """Ctrl-C works in the programs under test, however the test run itself was started.

    A shell without job control starts background jobs with SIGINT ignored, and children inherit
    that: Python then installs no handler for it, and a test that presses Ctrl-C waits in vain.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
