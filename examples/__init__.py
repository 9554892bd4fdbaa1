"""Runnable examples on real inputs that need no download."""
