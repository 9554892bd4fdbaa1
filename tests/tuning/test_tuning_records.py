"""Records survive crashes, full disks and second tuners; damage is found, named and repaired."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.support.errors import RecordError
from tvm_flow.tuning.records.files import repair
from tvm_flow.tuning.records.record import BadLine, Header, Record, decode
from tvm_flow.tuning.records.store import RecordStore, promote

WORK = Workload(Problem.make("conv2d", ci=40, co=80, act="relu"), "direct")
Damage = Callable[[bytes], bytes]
SPACE = {"tile": [1, 2, 4], "vectors": [1, 2]}


def trial(tile: int, ms: float | None, *, status: str = "ok", **extra: object) -> Record:
    times = {} if ms is None else dict.fromkeys(("median_s", "p10_s", "p90_s"), ms / 1e3)
    base = Record.of(WORK, {"tile": tile, "vectors": 1}, 1, status, **times)
    return replace(base, **extra)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some-board"


def fill(folder: Path, *records: Record, writer: str = "local.jsonl") -> Path:
    with RecordStore(folder).writing(writer=writer, cpu_model="Some CPU") as store:
        for record in records:
            store.add(record)
    return folder / writer


def test_what_is_written_is_read_back(folder: Path) -> None:
    records = [trial(1, 2.0), trial(2, None, status="crashed", cause="SIGSEGV"), trial(4, 1.0)]
    path = fill(folder, *records)
    store = RecordStore(folder)
    assert store.records == records
    assert store.notes == []
    assert store.best(WORK, 1) == records[2]
    assert len(store.tried(WORK, 1)) == 3
    assert store.tried(WORK, 2) == set()
    header = json.loads(path.read_bytes().split(b"\n")[0])
    assert (header["target"], header["cpu_model"]) == ("some-board", "Some CPU")
    assert "apache-tvm" in header["versions"]


def test_committed_records_come_first_and_are_never_written(folder: Path) -> None:
    zoo = fill(folder, trial(1, 1.0), writer="zoo.jsonl")
    before = zoo.read_bytes()
    fill(folder, trial(2, 2.0))
    assert zoo.read_bytes() == before
    assert [r.knobs["tile"] for r in RecordStore(folder).records] == [1, 2]


def test_best_prefers_thread_count_measured_label_and_final_comparison(folder: Path) -> None:
    fill(
        folder,
        trial(1, 3.0),
        trial(2, 1.0, threads=4),
        trial(4, 0.1, label="modelled"),
    )
    store = RecordStore(folder)
    assert store.best(WORK, 1).knobs["tile"] == 1  # exact thread count first
    assert store.best(WORK, 2).knobs["tile"] == 2  # else one for more threads
    assert store.best(WORK, 8) is None  # never one for fewer: it may not share the work
    assert store.best(WORK, 1, labels=("modelled",)).knobs["tile"] == 4
    fill(folder, trial(2, 3.2, stage="final", session="b"), trial(4, 3.1, stage="final"))
    fill(folder, trial(2, 4.0, stage="final", session="c"))
    assert RecordStore(folder).best(WORK, 1).seconds == 4.0e-3  # the last comparison decides
    assert RecordStore(folder).best("conv2d():direct", 1) is None


def test_stale_knobs_are_reported_and_not_used(folder: Path) -> None:
    fill(folder, trial(3, 1.0), trial(2, 2.0))
    store = RecordStore(folder)
    assert store.best(WORK, 1, space=SPACE).knobs["tile"] == 2
    assert [r.knobs["tile"] for r in store.stale(WORK, SPACE)] == [3]
    assert store.best(WORK, 1, space={"tile": [2, 3]}) is None  # another set of knobs


def test_torn_tail_is_reported_then_moved_aside(folder: Path) -> None:
    path = fill(folder, trial(1, 2.0), trial(2, 1.0))
    whole = path.read_bytes()
    torn = trial(4, 0.5).encode()[:-20]
    path.write_bytes(whole + torn)
    store = RecordStore(folder)
    assert len(store) == 2
    assert "torn line" in store.notes[0]
    assert path.read_bytes() == whole + torn  # reading changes nothing
    fill(folder, trial(4, 3.0))
    assert path.read_bytes() == whole + trial(4, 3.0).encode()
    assert path.with_name("local.jsonl.torn").read_bytes() == torn + b"\n"


def test_whole_last_line_without_newline_is_kept(folder: Path) -> None:
    path = fill(folder, trial(1, 2.0))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert len(RecordStore(folder)) == 1
    fill(folder, trial(2, 1.0))
    assert [r.knobs["tile"] for r in RecordStore(folder).records] == [1, 2]


@pytest.mark.parametrize("cut", [0, 10])
def test_log_cut_short_in_its_header_starts_anew(folder: Path, cut: int) -> None:
    path = fill(folder)
    path.write_bytes(path.read_bytes()[:cut])
    fill(folder, trial(1, 1.0))
    assert len(RecordStore(folder)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b"ok", b"0k", 1),  # content does not match its hash
        lambda line: line[:-10],  # cut in the middle of the file
        lambda _: b"<<<<<<< HEAD",
        lambda _: b"\x00\xff\x00",
        lambda _: b"[1, 2]",
        lambda line: line.replace(b'"median_s":0.002', b'"median_s":NaN'),
    ],
)
def test_damaged_middle_line_is_named_and_repaired(
    folder: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = fill(folder, trial(1, 2.0), trial(2, 1.0))
    header, first, second, _ = path.read_bytes().split(b"\n")
    bad = damage(first)
    path.write_bytes(b"\n".join([header, bad, second, b""]))
    with pytest.raises(RecordError, match=r"local\.jsonl:2 .*tvm-flow records repair"):
        RecordStore(folder)
    with (
        pytest.raises(RecordError, match=r"local\.jsonl:2"),
        RecordStore.writing(_unread(folder)),
    ):
        pass
    report = repair(folder)
    assert report.moved == {"local.jsonl": 1}
    assert [r.knobs["tile"] for r in RecordStore(folder).records] == [2]
    assert path.with_name("local.jsonl.torn").read_bytes() == bad + b"\n"
    assert repair(folder).moved == {"local.jsonl": 0}


def _unread(folder: Path) -> RecordStore:
    """A store that was opened before the damage happened."""
    store = RecordStore(folder.with_name("empty"), "some-board")
    store.directory = folder
    return store


def test_lost_header_is_written_anew_by_repair(folder: Path) -> None:
    path = fill(folder, trial(1, 2.0))
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(RecordError, match="first line must be a header"):
        RecordStore(folder)
    repair(folder)
    assert len(RecordStore(folder)) == 1


@pytest.mark.parametrize("field", ["target", "schema"])
def test_foreign_log_is_refused_and_left_alone(folder: Path, field: str) -> None:
    path = fill(folder.with_name("other-board"), trial(1, 2.0))
    folder.mkdir()
    foreign = folder / "theirs.jsonl"
    data = path.read_bytes()
    if field == "schema":
        data = _header_of_schema_3() + data.split(b"\n", 1)[1]
    foreign.write_bytes(data)
    for action in (RecordStore, repair):
        with pytest.raises(RecordError, match=r"theirs\.jsonl:1 .*move theirs\.jsonl out"):
            action(folder)
    assert foreign.read_bytes() == data


def _header_of_schema_3() -> bytes:
    from tvm_flow.tuning.records import record  # noqa: PLC0415

    return record._encode({"kind": "header", "schema": 3, "target": "some-board"})


def test_impossible_records_are_refused() -> None:
    for change in (
        {"status": "fine"},
        {"median_s": -1.0},
        {"p10_s": 1.0},
        {"status": "crashed"},
        {"threads": 0},
        {"knobs": {"tile": 1.5}},
        {"label": "guessed"},
        {"problem": "conv2d"},
        {"problem": "conv2d(dtype=int8)"},
        {"algorithm": ""},
        {"dtype": "int8"},
        {"device": ""},
    ):
        with pytest.raises(BadLine):
            replace(trial(1, 2.0), **change)
    assert isinstance(decode(Header.now("b").encode(), "b"), Header)


def test_second_tuner_is_told_who_holds_the_log(folder: Path) -> None:
    with RecordStore(folder).writing() as store:
        with (
            pytest.raises(RecordError, match=f"process {os.getpid()} is tuning"),
            RecordStore(folder).writing(),
        ):
            pass
        with pytest.raises(RecordError, match="in use"):
            promote(folder)
        store.add(trial(1, 1.0))  # the first one is not disturbed
    with RecordStore(folder).writing() as store:
        assert len(store) == 1


def test_lock_of_a_killed_tuner_is_free(folder: Path) -> None:
    code = textwrap.dedent("""
        import os, signal, sys
        from tvm_flow.tuning.records.store import RecordStore
        from tvm_flow.tuning.records.record import Record
        with RecordStore(sys.argv[1]).writing() as store:
            store.add(Record("a()", "direct", {"x": 1}, 1, "timeout"))
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", code, folder], check=False)
    assert done.returncode == -signal.SIGKILL
    with RecordStore(folder).writing() as store:
        assert len(store) == 1


def test_full_disk_leaves_whole_records(folder: Path) -> None:
    path = fill(folder, trial(1, 2.0))
    size = path.stat().st_size
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RecordStore(folder).writing() as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, old[1]))  # a write comes up short
        try:
            with pytest.raises(RecordError, match="free some space"):
                store.add(trial(2, 1.0))
            assert len(store) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert path.stat().st_size == size
        store.add(trial(2, 1.0))
    assert len(RecordStore(folder)) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.parametrize("options", ["size=16k", "ro"])
def test_full_and_read_only_file_systems(tmp_path: Path, options: str) -> None:
    code = textwrap.dedent("""
        import sys
        from tvm_flow.support.errors import RecordError
        from tvm_flow.tuning.records.store import RecordStore
        from tvm_flow.tuning.records.record import Record
        count = 0
        try:
            with RecordStore(sys.argv[1], "b").writing() as store:
                for n in range(1000):
                    store.add(Record("a()", "direct", {"x": n}, 1, "timeout"))
                    count += 1
        except RecordError as error:
            print(error)
        print(count, len(RecordStore(sys.argv[1], "b")))
    """)
    script = f'mount -t tmpfs -o {options} tmpfs "$1" || exit 77; exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", tmp_path, sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this machine does not let root mount")
    message, counts = done.stdout.splitlines()
    written, found = map(int, counts.split())
    assert written == found
    if options == "ro":
        assert "Read-only file system" in message
    else:
        assert "No space left" in message or "no room" in message
        assert found > 3


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RecordError, match="--records"),
        RecordStore(tmp_path / "file" / "board").writing(),
    ):
        pass
    with pytest.raises(RecordError, match="No tuning records"):
        repair(tmp_path / "nowhere")


def test_promote_merges_the_best_into_the_committed_log(folder: Path) -> None:
    fill(folder, trial(1, 2.0), writer="zoo.jsonl")
    fill(folder, trial(2, 1.0), trial(4, None, status="timeout"), trial(4, 5.0, threads=2))
    assert [r.knobs["tile"] for r in promote(folder)] == [2, 4]
    (folder / "local.jsonl").unlink()
    store = RecordStore(folder)
    assert [(r.knobs["tile"], r.threads) for r in store.records] == [(2, 1), (4, 2)]
    assert promote(folder) == store.records  # nothing new: nothing changes


def test_what_editors_leave_behind(folder: Path) -> None:
    """A byte-order mark, blank lines, and the line ends of another system."""
    path = fill(folder, trial(1, 2.0), trial(2, 1.0))
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n".join(lines) + b"\r\n  \r\n\n ")
    store = RecordStore(folder)
    assert [r.knobs["tile"] for r in store.records] == [1, 2]
    assert not store.notes
    fill(folder, trial(4, 3.0))
    assert [r.knobs["tile"] for r in RecordStore(folder).records] == [1, 2, 4]
    repair(folder)
    mended = [line.strip() for line in path.read_bytes().splitlines()]
    assert mended == [*lines, trial(4, 3.0).encode().strip()]


def test_a_newer_schema_is_said_before_its_hash(folder: Path) -> None:
    """Which it may compute in another way."""
    path = fill(folder, trial(1, 2.0))
    header, *rest = path.read_bytes().splitlines()
    newer = json.dumps({**json.loads(header), "schema": 99, "sha": "another"}).encode()
    path.write_bytes(b"\n".join([newer, *rest]) + b"\n")
    with pytest.raises(RecordError, match=r"newer version of tvm-flow \(schema 99\).*Fix: move"):
        RecordStore(folder)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_logs_are_refused_or_read(folder: Path, seed: int) -> None:
    path = fill(folder, trial(1, 2.0), trial(2, 1.0))
    rng, data = random.Random(seed), bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(bytes(data))
    for read in (RecordStore, repair):
        with suppress(RecordError):
            read(folder)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000, b'{"kind": "trial"}', b'{"kind": "header", "schema": true}', b"null",
        b'{"kind": "trial", "sha": 3, "problem": []}', b"\xff\xfe\x00", b"1e999", b"{}",
    ],
)  # fmt: skip
def test_lines_that_are_none(folder: Path, line: bytes) -> None:
    path = fill(folder, trial(1, 2.0))
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(RecordError, match=r"jsonl:3 is not a valid tuning record"):
        RecordStore(folder)
