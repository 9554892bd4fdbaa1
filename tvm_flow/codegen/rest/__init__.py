"""Kernels for what no algorithm computes: element-wise chains and reductions, from their TIR."""
