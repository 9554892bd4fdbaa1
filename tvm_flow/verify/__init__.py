"""Whether a graph computes what the model does: after the import node by node, after the passes
as a whole. Nothing here depends on the target, and no code for it is made."""
