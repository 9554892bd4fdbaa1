"""Ranking kernels by a model of the core, where no board is at hand.

A candidate runs once under QEMU, which checks its result and records what it executes; llvm-mca
says how long the core takes for that. Figures from here carry the label ``modelled``: they rank
candidates of one workload, and are not times of a board.
"""
