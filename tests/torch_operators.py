"""``torch.export`` without its search for operators, of which it has no new ones between tests."""

from __future__ import annotations

import functools
import sys


def look_up_operators_once() -> None:
    """Have PyTorch, where it has been imported, ask its dispatcher once for all operators.

    It asks some fifty times for every exported program, in case libraries have registered more,
    which takes a third of an import of a small network.
    """
    if "torch" not in sys.modules:
        return
    from torch._export import utils  # noqa: PLC0415 - only where it is there already

    if look_up := getattr(utils, "_materialize_cpp_cia_ops", None):  # private: may go any time
        utils._materialize_cpp_cia_ops = functools.cache(look_up)
