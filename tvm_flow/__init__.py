"""tvm-flow: compile and tune PConv/ShuffleNet-style PyTorch networks for small boards with TVM."""

__version__ = "0.1.0"
