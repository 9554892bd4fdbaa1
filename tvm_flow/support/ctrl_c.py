"""Ctrl-C while TVM is calling Python (a pass, a schedule) stays Ctrl-C.

TVM hands an exception of a callback on by its name; a name it does not know comes out as an empty
``RuntimeError``, which the code around takes for a fault of the network. Imported for its effect.
"""

from __future__ import annotations

from tvm_ffi import register_error

register_error("KeyboardInterrupt", KeyboardInterrupt)
