"""Graph passes, one per file; :mod:`tvm_flow.passes.phases` is the whole compilation."""
