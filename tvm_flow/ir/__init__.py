"""The graph, what lowering makes of it, and the tasks there are to tune."""
