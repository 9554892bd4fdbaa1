"""Single operators on every engine: ``python -m benchmarks.operators --help``.

Each is a small network of its own with NCHW input and output for every engine, so reordering to an
engine's own layout and back is part of its time. The roofline is the larger of 2 * MACs over the
measured FMA rate and the bytes of input, weights and output over the measured bandwidth at that
working set.
"""

from __future__ import annotations

import argparse

from benchmarks import campaign, networks


def _plan() -> tuple[argparse.Namespace, campaign.Plan]:
    parser = campaign.parser(str(__doc__), networks.OPERATORS, "--operators")
    arguments = parser.parse_args()
    return arguments, [(n, t, False) for n in arguments.cases for t in arguments.threads]


if __name__ == "__main__":
    campaign.main("operators", _plan)
