"""Operators with their references, and the algorithms that compute them on each kind of device."""
