"""The TIR of every committed record, and of the default kernels, is what it was, names aside.

A refactoring must not change a kernel. ``tir_hashes/<folder of tuning_logs>.txt`` holds a hash of
each kernel's TIR; the default suite checks a quarter of the records and a few kernels with default
knobs, ``--all-records`` or ``-m slow`` all. After an intended change, ``--renew-tir-hashes`` writes
the files anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tests.schedules.record_kernels import Kernel, folders, kernels, part
from tests.schedules.tir_text import digest, normalise, text_of

HASHES = Path(__file__).parent / "tir_hashes"
#: One in so many is in the default suite: of the records' kernels, of those with default knobs (an
#: odd number, since one and two threads take turns).
PART = (4, 31)
ALL = (1, 1)
THIS = "pytest tests/schedules/test_tir_unchanged.py"

#: Hash by key of one folder's kernels.
Hashes = Mapping[str, str]


#: Hash by all that a kernel's TIR follows from.
_known: dict[Hashable, str] = {}


def hash_of(kernel: Kernel) -> str:
    recipe = kernel.recipe
    if recipe not in _known:
        _known[recipe] = digest(kernel.text())
    return _known[recipe]


def hashes_of(chosen: Iterable[Kernel]) -> dict[str, str]:
    return {kernel.key: hash_of(kernel) for kernel in chosen}


def read(log: str) -> dict[str, str]:
    """What is committed for a folder; nothing of a folder that is new."""
    path = HASHES / f"{log}.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = [line.split(" ", 1) for line in lines]
    return {key: value for value, key in pairs}


def write(log: str, hashes: Hashes) -> None:
    HASHES.mkdir(exist_ok=True)
    lines = [f"{value} {key}\n" for key, value in sorted(hashes.items())]
    (HASHES / f"{log}.txt").write_text("".join(lines))


def same_kernels(before: Hashes, after: Hashes) -> bool:
    """Whether both have the same kernels, each as often, whatever the keys call them."""
    return Counter(before.values()) == Counter(after.values())


def complaint(log: str, before: Hashes, after: Hashes, keys: Iterable[str]) -> str:
    """Why the kernels of a folder are not the committed ones; empty if they are.

    ``after`` may hold a part of the folder's kernels, ``keys`` names all of them.
    """
    now = set(keys)
    lists = {
        "have other TIR": [k for k, value in after.items() if before.get(k, value) != value],
        "vanished: a hash without a record": sorted(before.keys() - now),
        "are new: a record without a hash": sorted(now - before.keys()),
    }
    lines = []
    for what, found in lists.items():
        if found:
            lines.append(
                f"{len(found)} kernel(s) of tuning_logs/{log} {what}. The first: {found[0]}"
            )
            lines += [f"    {key}" for key in found[1:10]]
            lines += [f"    … and {len(found) - 10} more"] if len(found) > 10 else []
    return "\n".join(lines)


def advice(log: str, *, same: bool) -> str:
    if same:
        what = "The kernels as a whole are the same, each as often: only keys were renamed."
    else:
        what = "The kernels as a whole are NOT the same: TIR changed, or kernels came or went."
    return (
        f"{what}\nTo see the change: {THIS} -k part-{log} --all-records --dump-tir DIR before and "
        f"after, then diff -r. If it is intended: {THIS} --renew-tir-hashes"
    )


def dump(folder: Path, chosen: Iterable[Kernel]) -> None:
    """One file per kernel, named by its key's hash, with the key in the first line."""
    for kernel in chosen:
        path = folder / kernel.log / f"{digest(kernel.key)}.tir"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {kernel.key}\n{kernel.text()}")


def check(log: str, chosen: list[Kernel]) -> None:
    before = read(log)
    problem = complaint(log, before, hashes_of(chosen), kernels(log))
    if problem:
        same = same_kernels(before, hashes_of(kernels(log).values()))
        pytest.fail(f"{problem}\n{advice(log, same=same)}", pytrace=False)


@pytest.mark.parametrize("log", folders())
@pytest.mark.parametrize(
    "share", [pytest.param(PART, id="part"), pytest.param(ALL, id="all", marks=pytest.mark.slow)]
)
def test_kernels_are_unchanged(
    log: str, share: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    renew = request.config.getoption("--renew-tir-hashes")
    everything = renew or request.config.getoption("--all-records")
    chosen = list(part(log, *(ALL if everything else share)))
    if folder := request.config.getoption("--dump-tir"):
        dump(Path(folder), chosen)
    if renew:
        write(log, hashes_of(chosen))
    check(log, chosen)


def test_every_file_of_hashes_belongs_to_a_folder_of_records() -> None:
    orphans = {path.stem for path in HASHES.glob("*.txt")} - set(folders())
    assert not orphans, f"delete them, or restore the records: {sorted(orphans)}"


def test_the_default_part_has_every_generator_of_every_folder() -> None:
    for log in folders():
        chosen = list(part(log, *PART))
        assert {k.stratum for k in chosen} == {k.stratum for k in kernels(log).values()}
        assert len(chosen) < len(kernels(log)) / 2


@dataclass(frozen=True)
class Sample:
    """How a small kernel is spelt: ``y = 2 x`` through a scratch buffer, in two loops."""

    function: str = "kernel"
    buffers: tuple[str, str, str] = ("x", "y", "scratch")
    loops: tuple[str, str] = ("i", "i")
    factor: float = 2.0
    extent: int = 32
    dtype: str = "float32"
    attribute: str = "tirx.noalias"
    swapped: bool = False

    def text(self) -> str:
        with IRBuilder() as builder, T.prim_func():
            self._body()
        return text_of(builder.get())

    def _body(self) -> None:
        T.func_name(self.function)
        x, y = (T.arg(name, T.buffer((32,), self.dtype)) for name in self.buffers[:2])
        if self.swapped:
            x, y = y, x
        T.func_attr({"global_symbol": self.function, self.attribute: True})
        scratch = T.alloc_buffer((32,), self.dtype, scope="local")
        IRBuilder.name(self.buffers[2], scratch)
        for name, source, target in zip(self.loops, (x, scratch), (scratch, y), strict=True):
            with T.serial(0, self.extent) as index:
                IRBuilder.name(name, index)
                factor = tirx.FloatImm(self.dtype, self.factor)
                T.buffer_store(target, source[index] * factor, [index])


@pytest.mark.parametrize(
    "renamed",
    [
        Sample(function="conv2d_7"),
        Sample(buffers=("data", "out", "tile")),
        Sample(buffers=("T_1", "range_1", "n0")),
        Sample(loops=("i", "j")),
        Sample(loops=("n4", "n3")),
    ],
)
def test_a_renamed_kernel_has_the_same_text(renamed: Sample) -> None:
    assert renamed.text() == Sample().text()


@pytest.mark.parametrize(
    "changed",
    [
        Sample(factor=2.5),
        Sample(extent=16),
        Sample(dtype="float16"),
        Sample(attribute="tirx.is_scheduled"),
        Sample(swapped=True),
    ],
)
def test_a_changed_kernel_has_another_text(changed: Sample) -> None:
    assert changed.text() != Sample().text()


def test_a_name_is_numbered_anew_where_it_is_bound_anew() -> None:
    nested = "for i in range(2):\n    for j in range(3):\n        a[i] = a[j]"
    assert normalise(nested) != normalise(nested.replace("a[j]", "a[i]"))
    twice = "for i in range(2):\n    b[i] = 0\nfor i in range(2):\n    b[i] = 1"
    other = "for i in range(2):\n    b[i] = 0\nfor k in range(2):\n    b[k] = 1"
    assert normalise(twice) == normalise(other)


def test_only_names_are_replaced() -> None:
    line = 'data = T.decl_buffer((4,), data=x.data, scope="data")  '
    assert normalise(line) == 'n0 = T.decl_buffer((4,), data=x.data, scope="data")  \n'


OLD = {"record a": "11", "record b": "22", "default a": "11"}


def test_renamed_keys_are_told_from_changed_kernels() -> None:
    renamed = {"record p a": "11", "record p b": "22", "default p a": "11"}
    assert same_kernels(OLD, renamed)
    assert not same_kernels(OLD, {**renamed, "default p a": "22"})  # the same set, not as often
    assert "only keys were renamed" in advice("rk3399", same=True)
    assert "NOT the same" in advice("rk3399", same=False)


def test_a_change_is_named() -> None:
    assert not complaint("rk3399", OLD, {"record b": "22"}, OLD)
    changed = complaint("rk3399", OLD, {"record b": "33"}, OLD)
    assert changed == "1 kernel(s) of tuning_logs/rk3399 have other TIR. The first: record b"


def test_a_record_that_vanished_or_is_new_is_named() -> None:
    now = {"record a": "11", "default a": "11", "record c": "44"}
    found = complaint("rk3399", OLD, {}, now).splitlines()
    assert found[0].endswith("vanished: a hash without a record. The first: record b")
    assert found[1].endswith("are new: a record without a hash. The first: record c")
