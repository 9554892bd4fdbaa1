"""Graph passes, one per file; :mod:`tvm_flow.passes.pipeline` is the whole compilation."""
