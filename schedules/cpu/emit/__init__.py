"""Shared pieces that CPU kernels are generated from."""
