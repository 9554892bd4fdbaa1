"""Test suites that others wrote for their own tools, run through ``compile``, ``load`` and a call.

What becomes of each case is in a committed table, so that a change of any shows in a diff.
``python -m tests.suites NAME --update`` writes it anew.
"""
