"""The zoo on every engine: ``make bench``, or ``python -m benchmarks.zoo --help``.

Engines that are missing are installed first. Every network is timed with each number of threads,
and once more with more than one thread while another process keeps one of the cores busy.
"""

from __future__ import annotations

import argparse

from benchmarks import campaign, networks

#: the networks of the README's table come first: an interrupted run is still of use
_FIRST = ("fasternet_t0", "fasternet_t1", "shufflenet_v2_x1_0", "mobilenet_v2", "pconv_resnet18")


def _plan() -> tuple[argparse.Namespace, campaign.Plan]:
    order = [*_FIRST, *(name for name in networks.ZOO if name not in _FIRST)]
    parser = campaign.parser(str(__doc__), order, "--models")
    parser.add_argument("--no-busy", action="store_true", help="leave the busy second core out")
    arguments = parser.parse_args()
    # every network once before the next setting: an interrupted run then has whole tables
    plan = [
        (name, threads, busy)
        for threads in arguments.threads
        for busy in (False, True)
        if not busy or (threads > 1 and not arguments.no_busy)
        for name in arguments.cases
    ]
    return arguments, plan


if __name__ == "__main__":
    campaign.main("zoo", _plan)
