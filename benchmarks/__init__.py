"""Programs that measure: ``python -m benchmarks.NAME``."""

from tvm_flow.support.collector import collect_seldom

collect_seldom()  # before a program imports PyTorch and TVM
