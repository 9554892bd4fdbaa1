"""What documents and comments point to exists: decisions, files, names in files, benchmarks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions"
CODE = ("schedules", "targets", "tvm_flow", "tests", "benchmarks", "examples")
SUFFIXES = {".py", ".c", ".cc", ".h", ".sh", ".toml", ".md"}
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "schedules/*.md", "requirements/*.md")
    for path in ROOT.glob(pattern)
)
#: as in "(decision 0005)", also where the line of a comment ends in between
DECISION = re.compile(r"[Dd]ecisions?[\s/#*]+(\d{4})\b")
#: a path in backquotes, and maybe a name in that file: `a/b.py: name`
PATH = re.compile(r"`((?:[\w.*-]+/)+[\w.*-]*)(?:: (\w+))?`")
BENCHMARK = re.compile(r"python\s+-m\s+(benchmarks\.\w+)")


def code() -> Iterator[Path]:
    """Sources, without what the links in tvm_flow lead to once more."""
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and path.resolve() == path:
                yield path


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_decision_that_code_points_to_exists() -> None:
    known = {path.name[:4] for path in DECISIONS.glob("[0-9]*.md")}
    found = [
        (named(path), number)
        for path in (*code(), *DOCUMENTS)
        for number in DECISION.findall(path.read_text(encoding="utf-8"))
    ]
    assert len(found) > 30, "the pattern finds hardly any"
    assert [(path, number) for path, number in found if number not in known] == []


def test_the_index_lists_every_decision_with_title_and_date() -> None:
    index = (DECISIONS / "index.md").read_text(encoding="utf-8")
    records = sorted(DECISIONS.glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        title, _, date = path.read_text(encoding="utf-8").splitlines()[:3]
        assert title.startswith(f"# {path.name[:4]}. ")
        day = re.match(r"20\d\d-\d\d-\d\d", date)
        assert day, f"{path.name}: the third line is its date"
        assert f"| [{title[2:]}]({path.name}) | {day[0]} | " in index


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_paths_in_documents_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    missing = []
    for path, name in PATH.findall(text):
        first = path.split("/")[0]
        # what is made at run time (build/…), and what is only an example, has no place of its own
        bases = [base for base in (ROOT, ROOT / "tvm_flow") if (base / first).is_dir()]
        if not bases or first == "build" or "NNNN" in path or first.startswith("."):
            continue
        hits = [hit for base in bases for hit in base.glob(path.rstrip("/"))]
        if not hits or (name and not re.search(rf"\b{name}\b", hits[0].read_text())):
            missing.append(f"{path}: {name}" if name else path)
    missing += [
        module
        for module in BENCHMARK.findall(text)
        if not (ROOT / module.replace(".", "/")).with_suffix(".py").exists()
    ]
    assert missing == []
