"""Algorithms, generators and lowering for CPUs."""
