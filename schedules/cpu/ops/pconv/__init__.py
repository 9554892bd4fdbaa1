"""Partial convolution with the 1x1s after it."""
