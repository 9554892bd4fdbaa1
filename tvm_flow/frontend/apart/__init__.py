"""Operators of PyTorch taken apart into those that can be imported."""
