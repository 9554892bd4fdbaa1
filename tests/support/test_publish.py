"""A folder that appears whole or not at all, in place of one of our own or of nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvm_flow.support.errors import CompileError, UsageError
from tvm_flow.support.publish import refuse_foreign, replaced


def _put(target: Path, text: str) -> None:
    with replaced(target, "thing") as staging:
        (staging / "a").write_text(text)


def test_made_then_replaced(tmp_path: Path) -> None:
    target = tmp_path / "new" / "thing"
    for text in ("one", "two"):
        _put(target, text)
        assert (target / "a").read_text() == text
        assert target.stat().st_mode == target.parent.stat().st_mode
        assert list(target.parent.iterdir()) == [target], "nothing is left beside it"


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), UsageError("no"), OSError(28, "No space")]
)
def test_a_failure_leaves_the_old_one(failure: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "thing"
    _put(target, "old")

    def interrupted() -> None:
        with replaced(target, "thing") as staging:
            (staging / "a").write_text("half")
            raise failure

    with pytest.raises(CompileError if isinstance(failure, OSError) else type(failure)):
        interrupted()
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_leads_to_is_replaced(there: bool, tmp_path: Path) -> None:
    real, link = tmp_path / "disk" / "real", tmp_path / "link"
    link.symlink_to(real)
    if there:
        _put(real, "old")
    _put(link, "new")
    assert link.is_symlink()
    assert (real / "a").read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [real.parent, link]
    assert list(real.parent.iterdir()) == [real]


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for taken in (tmp_path, file):
        with pytest.raises(UsageError, match="exists and is not a thing"):
            refuse_foreign(taken, "thing", lambda _: False)
    refuse_foreign(tmp_path, "thing", lambda _: True)
    refuse_foreign(tmp_path / "none", "thing", lambda _: False)
    with pytest.raises(CompileError, match="cannot read"):
        refuse_foreign(tmp_path / ("long" * 100), "thing", lambda _: False)
