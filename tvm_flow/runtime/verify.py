"""Everything that must hold before a bundle's machine code may be loaded into a process."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from tvm_flow.runtime import digests, elf, machine
from tvm_flow.runtime.manifest import REWRITE, Manifest, Place
from tvm_flow.support.errors import BundleError

LIBRARY = "model.so"
_DISTRIBUTIONS = {"tvm": "apache-tvm", "tvm_ffi": "apache-tvm-ffi"}


def verify(directory: Place, manifest: Manifest) -> None:
    """Raise :class:`BundleError` unless the bundle is whole and made for this machine."""
    verify_files(directory, manifest)
    verify_machine(directory, manifest)
    verify_versions(manifest)


def fingerprint(path: Place) -> dict[str, Any]:
    """What a manifest says of a file: its size, the hash that is checked, and SHA-256 for other
    programs and for earlier versions of this one."""
    checked = digests.best_of({digests.BLAKE2B, digests.SHA256})
    hashes = {
        name: digests.of_file(path, name) for name in dict.fromkeys((checked, digests.SHA256))
    }
    return {**hashes, "size": os.path.getsize(path)}


def verify_files(directory: Place, manifest: Manifest) -> None:
    """Every file of the manifest is there with the size and content it was written with."""
    for name, entry in manifest.files.items():
        path = os.path.join(directory, name)
        algorithm = digests.best_of(entry)
        try:
            size, digest = os.path.getsize(path), digests.of_file(path, algorithm)
        except OSError as error:
            raise BundleError(
                f"{directory} is incomplete: cannot read {name}",
                why=error.strerror or str(error),
                fix=REWRITE,
            ) from error
        if size != entry["size"]:
            why = f"{name} has {size} bytes, {entry['size']} were written"
            raise BundleError(f"{directory} is damaged", why=why, fix=REWRITE)
        if digest != entry[algorithm]:
            why = f"{name} does not have the {algorithm} in the manifest"
            raise BundleError(f"{directory} is damaged", why=why, fix=REWRITE)


def elf_machine(path: Place) -> int:
    """``e_machine`` of a library. Raises :class:`BundleError`."""
    try:
        return elf.machine_of(path)
    except elf.NotElf as error:
        what = f"{path} is not a 64-bit little-endian ELF library"
        raise BundleError(what, fix=REWRITE) from error


def verify_machine(directory: Place, manifest: Manifest) -> None:
    """The library's architecture and CPU features are those of this machine."""
    target, here = manifest.target, machine.arch()
    found = elf_machine(os.path.join(directory, LIBRARY))
    if found != elf.MACHINES.get(here):
        raise BundleError(
            f"{directory} cannot run here",
            why=f"{LIBRARY} is for {elf.arch_name(found)} "
            f"(target {target['board']}), this machine is {here}",
            fix="copy it to the board, or compile with --target native",
        )
    missing = sorted(set(target["cpu_features"]) - machine.cpu_features())
    if missing:
        raise BundleError(
            f"{directory} cannot run here",
            why=f"it was compiled for {target['board']} and this CPU lacks {', '.join(missing)}",
            fix="compile for this machine with --target native",
        )


def verify_versions(manifest: Manifest) -> None:
    """The installed TVM runtime has the release the library was compiled by.

    TVM promises no binary compatibility between releases; the first three numbers must agree.
    """
    for key, distribution in _DISTRIBUTIONS.items():
        wanted = manifest.versions[key]
        fix = f"pip install {distribution}=={wanted}, or compile again with the installed version"
        installed = _installed(key, distribution)
        if installed is None:
            raise BundleError(f"{distribution} is not installed", fix=fix)
        if installed.split(".")[:3] != wanted.split(".")[:3]:
            raise BundleError(
                f"the bundle needs {distribution} {wanted}",
                why=f"{installed} is installed",
                fix=fix,
            )


def _installed(package: str, distribution: str) -> str | None:
    """The version of an installed distribution, by the name of its ``.dist-info`` beside its
    package. Where that does not tell, ``importlib.metadata`` does, for 3 MiB more."""
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        site = os.path.dirname(spec.submodule_search_locations[0])
        start, end = f"{distribution.replace('-', '_')}-", ".dist-info"
        found = [x for x in os.listdir(site) if x.startswith(start) and x.endswith(end)]
        if len(found) == 1:
            return found[0].removeprefix(start).removesuffix(end)
    from importlib import metadata  # noqa: PLC0415

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
