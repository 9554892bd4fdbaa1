"""Which candidate to try next, and one run of the tuner."""
