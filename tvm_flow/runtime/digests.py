"""Hashes of a bundle's files, without OpenSSL.

``import hashlib`` loads OpenSSL, whose pages would be a notable part of a process that runs a small
network, only to read the bundle once. The interpreter brings its own implementations along; the
standard library's ``random`` takes them for the same reason. Its BLAKE2b is as fast as OpenSSL's
SHA-256, its own SHA-256 is not, which is why manifests have both (decision 0019).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container
from os import PathLike
from typing import Any

BLAKE2B, SHA256 = "blake2b", "sha256"
_SIZE = 32  # bytes of a BLAKE2b digest: ``b2sum --length 256`` shows the same
_CHUNK = 1 << 16


def best_of(known: Container[str]) -> str:
    """Which hash of a file to check, of those a manifest has: earlier versions wrote only SHA-256,
    and an interpreter can be built without BLAKE2b."""
    return BLAKE2B if BLAKE2B in known and _own(BLAKE2B, "_blake2") else SHA256


def of_file(path: PathLike[str] | str, algorithm: str) -> str:
    """Hexadecimal digest of a file's content. Raises ``OSError``."""
    state = _state(algorithm)
    chunk = memoryview(bytearray(_CHUNK))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(chunk):
            state.update(chunk[:count])
    return str(state.hexdigest())


def _state(algorithm: str) -> Any:
    if algorithm == SHA256:
        return _openssl_sha256()()  # for megabytes its speed is worth its memory
    blake2b = _own(BLAKE2B, "_blake2")
    assert blake2b, "see best_of"
    return blake2b(digest_size=_SIZE)


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of something small."""
    made = _own(SHA256, "_sha2", "_sha256") or _openssl_sha256()
    return str(made(content).hexdigest())


def _own(name: str, *modules: str) -> Callable[..., Any] | None:
    """The interpreter's own implementation: the module's name differs between its versions."""
    for module in modules:
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        except ImportError:
            continue
        return found
    return None


def _openssl_sha256() -> Callable[..., Any]:
    import hashlib  # noqa: PLC0415

    return hashlib.sha256
