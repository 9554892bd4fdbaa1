"""``manifest.json``: what a bundle is, for which machine, and the hash of every file in it.

For people and for the tools on the host; what a run needs is in ``plan.bin``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tvm_flow.support import machine
from tvm_flow.support.errors import BundleError

Place = str | os.PathLike[str]
NAME = "manifest.json"
FORMAT = "tvm-flow-bundle"
SCHEMA = 3
REWRITE = "write the bundle again with tvm-flow compile, or copy it again"


class TensorSpec(NamedTuple):
    """Name, shape and NumPy type name of one input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Manifest(NamedTuple):
    """The parsed manifest. ``data`` is the whole document; the properties are its main parts."""

    data: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.data["model"])

    @property
    def layout(self) -> str:
        """Order of the 4-D tensors at the border: ``NCHW`` or ``NHWC``."""
        return str(self.data["layout"])

    @property
    def inputs(self) -> list[TensorSpec]:
        return list(_specs(self.data["inputs"]))

    @property
    def outputs(self) -> list[TensorSpec]:
        return list(_specs(self.data["outputs"]))

    @property
    def target(self) -> dict[str, Any]:
        """``board``, ``arch``, ``libc``, ``cpu_features``, ``threads``, ``cores``, ``tvm``."""
        return dict(self.data["target"])

    @property
    def versions(self) -> dict[str, str]:
        return dict(self.data["versions"])

    @property
    def tolerance(self) -> float:
        """Largest accepted :func:`~tvm_flow.measure.stats.max_rel_error` on the sample."""
        return float(self.data["sample"]["tolerance"])

    @property
    def macs(self) -> int:
        return int(self.data["macs"])

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """File name, relative to the bundle, to its size and hash (:func:`fingerprint`)."""
        return dict(self.data["files"])


def _specs(items: list[dict[str, Any]]) -> Iterator[TensorSpec]:
    for item in items:
        yield TensorSpec(item["name"], tuple(int(d) for d in item["shape"]), item["dtype"])


def seal(data: dict[str, Any]) -> str:
    """The document as text, with the hash of its own content added as ``manifest_sha256``."""
    return json.dumps({**data, "manifest_sha256": _digest(data)}, indent=1, sort_keys=True) + "\n"


def _digest(data: dict[str, Any]) -> str:
    content = {key: value for key, value in data.items() if key != "manifest_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


#: What is read of a manifest; lists are of objects.
_FIELDS: dict[str, type] = {
    "model": str, "layout": str, "target": dict, "sample": dict, "files": dict, "memory": dict,
    "inputs": list, "outputs": list, "kernels": list, "calls": list,
}  # fmt: skip


def is_bundle(directory: Place) -> bool:
    """Whether ``directory`` holds a manifest of this format, of any schema and in any state."""
    try:
        return f'"{FORMAT}"' in _text(os.path.join(directory, NAME))
    except (OSError, UnicodeDecodeError):
        return False


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def read(directory: Place) -> Manifest:
    """Read and validate the manifest of a bundle. Raises :class:`BundleError`."""
    path = os.path.join(directory, NAME)
    try:
        data = json.loads(_text(path))
    except FileNotFoundError:
        raise BundleError(
            f"{directory} is not a bundle",
            why=f"it has no {NAME}",
            fix="pass the directory that tvm-flow compile --output wrote",
        ) from None
    except NotADirectoryError:
        raise BundleError(
            f"{directory} is a single file",
            why="it has neither the manifest nor the sample of a bundle",
            fix="compile a bundle, without --single-file",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"cannot read {path}", why=str(error), fix=REWRITE) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BundleError(f"{path} is not the manifest of a tvm-flow bundle", fix=REWRITE)
    if data.get("schema") != SCHEMA:
        raise BundleError(
            f"{path} has schema {data.get('schema')}, this version reads {SCHEMA}",
            why="the bundle was written by another version of tvm-flow",
            fix="write it again with this version's tvm-flow compile",
        )
    if data.get("manifest_sha256") != _digest(data):
        raise BundleError(f"{path} was changed after it was written", fix=REWRITE)
    for key, kind in _FIELDS.items():
        value: Any = data.get(key)
        sound = isinstance(value, kind)
        if not sound or (kind is list and not all(isinstance(item, dict) for item in value)):
            raise BundleError(f"{path} says nothing sound of {key!r}", fix=REWRITE)
    return Manifest(data)


def fingerprint(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: ``size`` in bytes and ``sha256``."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size": path.stat().st_size}


def verify(directory: Place) -> Manifest:
    """The manifest of a bundle that is whole and for this machine's architecture. Raises
    :class:`BundleError`."""
    info = read(directory)
    verify_files(directory, info)
    arch, here = info.target["arch"], machine.arch()
    if arch != here:
        raise BundleError(
            f"{directory} cannot run here",
            why=f"it was compiled for {info.target['board']}, which is {arch}, and this machine is "
            f"{here}",
            fix="copy it to the board, or compile it with --target native",
        )
    return info


def verify_files(directory: Place, manifest: Manifest) -> None:
    """Raise :class:`BundleError` unless every file of the manifest is there with the content that
    it was written with."""
    for name, entry in manifest.files.items():
        try:
            found = fingerprint(Path(directory) / name)
        except OSError as error:
            raise BundleError(
                f"{directory} is incomplete: cannot read {name}",
                why=error.strerror or str(error),
                fix=REWRITE,
            ) from error
        for key, wanted in entry.items():
            if found[key] != wanted:
                why = f"{name} has {key} {found[key]}, the manifest says {wanted}"
                raise BundleError(f"{directory} is damaged", why=why, fix=REWRITE)
