"""Algorithms for CPUs, one folder or file per operator."""
