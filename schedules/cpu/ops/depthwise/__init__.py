"""Depthwise convolution, NHWC and NCHW."""
