"""Why a network is fast or slow: what each layer computes and moves, and what that should take."""
