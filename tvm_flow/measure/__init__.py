"""Timing, its validity, and what a machine reaches at most."""
