"""Graph -> Relax -> machine code."""
