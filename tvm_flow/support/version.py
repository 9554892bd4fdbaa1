"""The version of tvm-flow: the only place that states it (``pyproject.toml`` reads it here)."""

__version__ = "0.1.0"
