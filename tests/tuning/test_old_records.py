"""Records of schema 1, as tvm-flow wrote them first, are read, and rewritten on demand.

``schema1/`` holds a real log: one line of every kind that was committed, and trials that failed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.support.errors import RecordError
from tvm_flow.tuning.records.files import read_log
from tvm_flow.tuning.records.record import SCHEMA, Header, Record, decode
from tvm_flow.tuning.records.schema1 import workload_of
from tvm_flow.tuning.records.store import RecordStore, migrate

TARGET = "native-x86_64-avx512-2fma"
OLD = Path(__file__).parent / "schema1" / TARGET
LINES = (OLD / "local.jsonl").read_bytes().splitlines()
COUNT = len(LINES) - 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / TARGET))


def log(folder: Path) -> Path:
    return folder / "local.jsonl"


def schemas(path: Path) -> set[int]:
    """2 of a trial that tells its algorithm, else 1; the header's own."""
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    return {entry.get("schema") or (2 if "algorithm" in entry else 1) for entry in entries}


def test_every_line_is_read_and_nothing_is_written(folder: Path) -> None:
    before = log(folder).read_bytes()
    store = RecordStore(folder)
    assert len(store) == COUNT
    assert log(folder).read_bytes() == before
    assert {r.status for r in store.records} == {
        "ok", "crashed", "timeout", "wrong_result", "build_error",
    }  # fmt: skip
    assert {(r.dtype, r.device) for r in store.records} == {("float32", "cpu")}
    old = [json.loads(line) for line in LINES[1:]]
    for field in ("knobs", "threads", "median_s", "label", "stage", "session", "cause"):
        assert [getattr(r, field) for r in store.records] == [entry[field] for entry in old]


def test_what_they_are_about_can_be_built() -> None:
    known = [r for r in RecordStore(OLD).records if not r.problem.startswith("test_affine")]
    for record in known:
        workload = Workload.parse(record.workload)
        algorithm = registry.algorithm(workload)
        assert algorithm.operator.outputs(workload.problem)
    shipped = {(way.op, way.name) for way in registry.every() if way.device_kind == "cpu"}
    found = {(Workload.parse(r.workload).problem.op, r.algorithm) for r in known}
    assert len(found & shipped) >= 18, "the excerpt has all that was recorded"


WINDOW = "kh=3,kw=3,mix=0,n=1,ph=1,pw=1,res=none,sh=1,sw=1,w=14"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("conv2d(ci=3,nchw=1)", "conv2d(ci=3,layout=nchw_to_nhwc):direct"),
        ("conv2d(ci=3,nchw=0)", "conv2d(ci=3):direct"),
        (
            "conv2d_winograd(act=relu,ci=8,co=9,h=14,ic0=0,icp=8,m=4,n=1,res=none,w=14)",
            f"conv2d(act=relu,bc0=0,bcp=0,ci=8,co=9,h=14,ic0=0,icp=8,{WINDOW}):winograd4",
        ),
        (
            "pointwise_nchw(act=none,ci=8,co=9,h=4,n=1,w=8)",
            "conv2d(act=none,bc0=0,bcp=0,ci=8,co=9,h=4,ic0=0,icp=8,kh=1,kw=1,mix=0,n=1,ph=0,pw=0,"
            "res=none,sh=1,sw=1,w=8,layout=nchw):direct",
        ),
        ("depthwise_nchw(c=8,h=4)", "depthwise(c=8,c0=0,cp=8,h=4,layout=nchw):direct"),
        ("depthwise(c=8,c0=0,cp=8,h=4)", "depthwise(c=8,c0=0,cp=8,h=4):direct"),
        ("mbconv(ci=8)", "mbconv(ci=8):rows"),
        ("mbconv_whole(ci=8)", "mbconv(ci=8):whole"),
        ("pconv(c=8)", "pconv(c=8):direct"),
        ("pconv(c=8,wino=2)", "pconv(c=8):winograd2"),
        ("pconv_block(c=8,strassen=1)", "pconv_block(c=8):direct_strassen"),
        ("pconv_block(c=8,strassen=1,wino=4)", "pconv_block(c=8):winograd4_strassen"),
        ("pconv_pointwise(c=8,wino=4)", "pconv_pointwise(c=8):winograd4"),
        ("transpose(c=8,to=nhwc)", "transpose(c=8,layout=nchw_to_nhwc):direct"),
        ("transpose(c=8,to=nchw)", "transpose(c=8,layout=nhwc_to_nchw):direct"),
        ("somebodys_own(c=8)", "somebodys_own(c=8):direct"),
    ],
)
def test_three_spellings_become_one(old: str, new: str) -> None:
    assert workload_of(old).key == new


def test_a_damaged_old_line_is_found_out(folder: Path) -> None:
    path = log(folder)
    path.write_bytes(path.read_bytes().replace(b'"threads":1', b'"threads":2', 1))
    with pytest.raises(RecordError, match=r"local\.jsonl:\d+ .*content hash"):
        RecordStore(folder)
    before = path.read_bytes()
    with pytest.raises(RecordError, match="records repair"):
        migrate(folder)
    assert path.read_bytes() == before


def test_migration_keeps_everything_and_is_done_once(folder: Path) -> None:
    before = RecordStore(folder).records
    header = read_log(log(folder), TARGET).header
    assert header is not None
    assert header.schema == 1
    assert migrate(folder) == {"local.jsonl": COUNT}
    assert schemas(log(folder)) == {SCHEMA}
    assert RecordStore(folder).records == before
    now = read_log(log(folder), TARGET).header
    assert now is not None
    assert (now.created, now.versions, now.cpu_model) == (
        header.created, header.versions, header.cpu_model,
    )  # fmt: skip
    again = log(folder).read_bytes()
    assert migrate(folder) == {}
    assert log(folder).read_bytes() == again
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "local.jsonl"]


def test_a_torn_tail_is_moved_aside(folder: Path) -> None:
    path = log(folder)
    torn = LINES[1][:50]
    path.write_bytes(path.read_bytes() + torn)
    assert migrate(folder) == {"local.jsonl": COUNT}
    assert path.with_name("local.jsonl.torn").read_bytes() == torn + b"\n"
    assert RecordStore(folder).notes == []


def test_adding_to_an_old_log_migrates_it_first(folder: Path) -> None:
    known = RecordStore(folder).records
    fresh = Record("conv2d(ci=3)", "winograd2", {"x": 1}, 1, "crashed", cause="SIGSEGV")
    with RecordStore(folder).writing() as store:
        store.add(fresh)
        with pytest.raises(RecordError, match="in use"):
            migrate(folder)
    assert schemas(log(folder)) == {SCHEMA}
    assert RecordStore(folder).records == [*known, fresh]


def test_old_and_new_logs_of_a_folder_are_read_together(folder: Path) -> None:
    (folder / "zoo.jsonl").write_bytes(Header.now(TARGET).encode())
    assert len(RecordStore(folder)) == COUNT
    assert migrate(folder) == {"local.jsonl": COUNT}


def test_a_newer_log_is_said_to_be_newer(folder: Path) -> None:
    entry = json.loads(Header.now(TARGET).encode())
    del entry["sha"]
    from tvm_flow.tuning.records import record  # noqa: PLC0415

    newer = record._encode({**entry, "schema": 3})
    log(folder).write_bytes(newer)
    said = r"local\.jsonl:1 .*written by a newer version of tvm-flow \(schema 3\)"
    for action in (RecordStore, migrate):
        with pytest.raises(RecordError, match=said):
            action(folder)
    assert log(folder).read_bytes() == newer


def test_a_line_says_problem_algorithm_knobs_element_type_and_device() -> None:
    record = Record("conv2d(ci=3)", "winograd2", {"mt": 4}, 2, "timeout")
    entry = json.loads(record.encode())
    assert (entry["problem"], entry["algorithm"], entry["knobs"]) == (
        "conv2d(ci=3)", "winograd2", {"mt": 4},
    )  # fmt: skip
    assert (entry["dtype"], entry["device"], entry["threads"]) == ("float32", "cpu", 2)
    assert decode(record.encode().rstrip(), TARGET) == record


def test_no_folder_no_migration(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No tuning records"):
        migrate(tmp_path / "nowhere")
