"""Operator families: computation, reference, default schedule and tunable space, side by side."""
