"""Advice on a network: what every rule finds, alike ones together, the largest saving first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from tvm_flow.analysis.finding import Finding, finding
from tvm_flow.analysis.report import AnalysisReport
from tvm_flow.analysis.rules import RULES, Scene
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.cpu.device import Cpu

#: Savings below this part of the network's time are not worth a line.
WORTH = 0.002


@dataclass(frozen=True)
class Audit:
    """How a rule fared: ``places`` it looked closer at, ``worth``: those that would save
    something."""

    rule: str
    places: int
    worth: int


@dataclass(frozen=True)
class AdviceReport:
    """``total_s``: seconds of all kernels, ``total_word`` as of a cost. ``findings``: the largest
    saving first; savings of one layer exclude each other. ``notes``: one line each."""

    model: str
    target: str
    threads: int
    total_s: float
    total_word: str
    findings: tuple[Finding, ...]
    audit: tuple[Audit, ...]
    notes: tuple[str, ...]
    valid: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain data; see docs/analysis.md."""
        return {
            **{key: value for key, value in vars(self).items() if key not in ("findings", "audit")},
            "notes": list(self.notes),
            "findings": [found.to_json() for found in self.findings],
            "audit": [asdict(entry) for entry in self.audit],
        }


def advice(
    report: AnalysisReport,
    device: Cpu,
    n_div: int,
    resident: int,
    sharpen: Callable[[Finding], Finding] | None = None,
) -> AdviceReport:
    """What to change in an analysed network. ``n_div``: divider of partial convolutions;
    ``resident``: bytes of all its weights; ``sharpen`` replaces savings that are modelled by
    others, once for those that are alike."""
    scene = Scene(report.layers, device, n_div)
    changes = [change for rule in RULES for change in rule(scene)]
    found = _together(finding(change, device, report.peaks, resident) for change in changes)
    if sharpen is not None:
        found = [sharpen(one) for one in found]
    time, word = report.time_s, report.time_word
    if time is None:
        time, word = report.predicted.total, "predicted"
    worth = [one for one in found if one.saving_s >= WORTH * time]
    rules = dict.fromkeys(one.rule for one in found)
    audit = [
        Audit(
            rule,
            sum(one.count for one in found if one.rule == rule),
            sum(one.count for one in worth if one.rule == rule),
        )
        for rule in rules
    ]
    whole = report.whole
    return AdviceReport(
        report.model, report.target, report.threads, time, word,
        tuple(sorted(worth, key=lambda one: -one.saving_s)), tuple(audit), report.notes,
        whole is None or whole.valid, "" if whole is None else whole.reason,
    )  # fmt: skip


def _together(findings: Iterable[Finding]) -> list[Finding]:
    """Findings about equal layers as one, with their sums."""
    merged: dict[tuple[Any, ...], Finding] = {}
    for one in findings:
        key = one.rule, one.change, one.before, one.after
        known = merged.get(key)
        if known is None:
            merged[key] = one
        else:
            merged[key] = replace(
                known, symbols=known.symbols + one.symbols, modules=known.modules + one.modules,
                cost_s=known.cost_s + one.cost_s, saving_s=known.saving_s + one.saving_s,
                count=known.count + 1,
            )  # fmt: skip
    return list(merged.values())


Seconds = Callable[[Workload], float]


def timed_saving(one: Finding, seconds: Seconds, word: str) -> Finding:
    """A finding whose saving is the part by which the layers get shorter when both they and what
    takes their place are timed by themselves; as it is where nothing takes their place."""
    if not one.before or not one.after:
        return one
    before, after = (
        sum(seconds(Workload.parse(key)) for key in keys) for keys in (one.before, one.after)
    )
    return replace(one, saving_s=(1 - one.scale * after / before) * one.cost_s, saving_word=word)
