"""Operator families, generators and lowering for CPUs."""
