"""1x1 -> depthwise -> 1x1 as one operator."""
