"""Dense convolution: direct, Winograd, and 1x1 between NCHW tensors."""
