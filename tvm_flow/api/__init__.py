"""One verb per file: what the command line and ``import tvm_flow`` offer.

Nothing is imported here, so that each verb loads only what it needs.
"""
