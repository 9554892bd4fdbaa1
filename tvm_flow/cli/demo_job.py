"""The main job on real input in about three minutes, from the public functions only."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console, RenderableType
from rich.rule import Rule

import tvm_flow
from tvm_flow.api.boards import COMMITTED, board_of, records_of
from tvm_flow.api.networks import load_model
from tvm_flow.cli import compare as compare_view
from tvm_flow.cli import compile as compile_view
from tvm_flow.cli import doctor as doctor_view
from tvm_flow.cli import trace as trace_view
from tvm_flow.cli.progress import Progress
from tvm_flow.cli.text import line, table
from tvm_flow.cli.tune import show as show_tuning
from tvm_flow.support.errors import EnvironmentFault, NumericsError

MODEL = "fasternet_t0"
DIGITS = ("fasternet_digits", "shufflenet_digits")
TUNE_MINUTES = 0.75
ROUNDS, ROUND_S = 10, 0.15

Parts = Iterator[RenderableType]


@dataclass
class Demo:
    """:meth:`run` does one step after the other and yields what to show; ``facts`` collects what
    was found, as plain data.

    ``checkout``: where the examples are; ``folder``: where everything is written; ``minutes``: time
    for tuning.
    """

    checkout: Path
    folder: Path
    minutes: float = TUNE_MINUTES
    facts: dict[str, Any] = field(default_factory=dict)
    bundles: dict[int, Path] = field(default_factory=dict)  # by number of threads

    def __post_init__(self) -> None:
        if str(self.checkout) not in sys.path:
            sys.path.append(str(self.checkout))  # for the package ``examples``
        self.networks = self.checkout / "examples" / "digits" / "models.py"
        self.board = board_of("native")
        self.records = self.folder / "tuning_logs"

    def run(self) -> Parts:
        """All steps. Raises what they raise: a wrong number or a broken bundle ends the demo."""
        started = time.monotonic()
        steps: dict[str, Callable[[], Parts]] = {
            "Is the installation sound?": self.doctor,
            f"What the passes make of {MODEL}": self.trace,
            f"Tuning for {60 * self.minutes:.0f} s on top of the committed records": self.tune,
            "Compiling and checking": self.compile,
            "Against PyTorch eager, same cores and threads": self.compare,
            "Handwritten digits, two trained networks": self.digits,
            "Two photographs": self.photos,
        }
        for number, (title, step) in enumerate(steps.items(), start=1):
            yield Rule(f"{number}/{len(steps)} {title}", align="left")
            yield from step()
        self.facts["seconds"] = time.monotonic() - started
        yield Rule("Summary", align="left")
        yield from self.summary()

    def finish(self) -> dict[str, Any]:
        """Run everything and return the facts only."""
        for _ in self.run():
            pass
        return self.facts

    def doctor(self) -> Parts:
        checks = tvm_flow.diagnose(self.records)
        broken = [check for check in checks if not check.ok and not check.warning]
        yield from doctor_view.show([check for check in checks if not check.ok])
        if broken:
            raise EnvironmentFault(
                f"{len(broken)} check(s) of the installation failed",
                why=f"{broken[0].name}: {broken[0].detail}",
                fix=broken[0].fix,
            )
        yield line(f"{len(checks)} checks; tvm-flow doctor shows them all")
        yield line(f"{self.board.soc}: {self.board.title}, {self.board.threads} thread(s)")

    def trace(self) -> Parts:
        report = tvm_flow.trace(MODEL)
        self.facts["trace"] = {
            "operators_before": sum(report.before.operators.values()),
            "operators_after": sum(report.after.operators.values()),
            "copies_removed": report.copies_removed,
        }
        yield from trace_view.show(report)

    def tune(self) -> Parts:
        committed = records_of(self.board) / COMMITTED
        own = records_of(self.board, self.records)
        if committed.is_file():
            own.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(committed, own / COMMITTED)
        else:
            yield line(f"no committed records for {self.board.log_name}: starting from defaults")
        with Progress(Console(stderr=True)) as progress:
            report = tvm_flow.tune(
                MODEL, minutes=self.minutes, records=self.records, on_event=progress
            )
        if report.interrupted:
            raise KeyboardInterrupt
        self.facts["tune"] = {"measured": report.measured, "failures": dict(report.failures)}
        yield from show_tuning(report)

    def compile(self) -> Parts:
        for threads in sorted({1, self.board.threads}):
            output = self.folder / f"{MODEL}-{threads}thread"
            report = tvm_flow.compile(MODEL, output=output, threads=threads, records=self.records)
            self.bundles[threads] = output
            self.facts["compile"] = {"tuned": report.tuned, "kernels": report.kernels}
            yield from compile_view.show(report)
        report_of_check = tvm_flow.check(report.path)
        yield line(f"self-check of what was written: {report_of_check}", "green")

    def compare(self) -> Parts:
        self.facts["compare"] = []
        for threads, bundle in self.bundles.items():
            (result,) = tvm_flow.compare(
                MODEL, bundle=bundle, threads=[threads], rounds=ROUNDS, round_s=ROUND_S
            )
            self.facts["compare"].append(result.to_json())
            yield from compare_view.show(result)

    def digits(self) -> Parts:
        from examples.digits import data  # noqa: PLC0415 - needs the checkout on the path

        _, held_out = data.load()
        made = table("network", ">accuracy", ">same as PyTorch", ">largest difference")
        self.facts["digits"] = []
        for factory in DIGITS:
            spec = f"{self.networks}:{factory}"
            module = load_model(spec).module
            assert module is not None
            report = tvm_flow.compile(
                spec, output=self.folder / factory, threads=1, records=self.records
            )
            bundle = tvm_flow.load(report.path)
            ours = np.concatenate([bundle(image[None]) for image in held_out.images])
            theirs = _eager(module, held_out.images)
            fact = _agreement(factory, ours, theirs, held_out.labels)
            self.facts["digits"].append(fact)
            made.add_row(
                factory, f"{100 * fact['accuracy']:.2f} %",
                f"{fact['same']} of {fact['images']}", f"{fact['max_rel_error']:.1e}",
            )  # fmt: skip
        yield made
        yield line("held-out images that neither network was trained on")

    def photos(self) -> Parts:
        from examples import photos  # noqa: PLC0415 - needs the checkout on the path

        yield line(
            "FasterNet-T0 has random weights here, so its classes mean nothing; what counts is "
            "that the bundle names the same ones as PyTorch."
        )
        module = load_model(MODEL).module
        assert module is not None
        made = table("photo", "top 5 of the bundle", "top 5 of PyTorch")
        self.facts["photos"] = {}
        for name, image in photos.load_all().items():
            ours = [i for i, *_ in tvm_flow.run(self.bundles[1], image).top]
            theirs = np.argsort(-_eager(module, image)[0], kind="stable")[:5].tolist()
            self.facts["photos"][name] = {"bundle": ours, "pytorch": theirs}
            made.add_row(name, " ".join(map(str, ours)), " ".join(map(str, theirs)))
            if ours != theirs:
                raise NumericsError(
                    f"The bundle and PyTorch disagree about the photo {name}",
                    why=f"{ours} against {theirs}",
                )
        yield made

    def summary(self) -> Parts:
        facts = self.facts
        trace, compiled = facts["trace"], facts["compile"]
        yield line(
            f"{trace['operators_before']} operators became {trace['operators_after']}, "
            f"{trace['copies_removed']} copies are gone; {compiled['tuned']} of "
            f"{compiled['kernels']} kernels are tuned ({facts['tune']['measured']} trials now)"
        )
        for result in facts["compare"]:
            valid = "" if result["valid"] else f" (NOT VALID: {result['reason']})"
            yield line(
                f"{result['threads']} thread(s): {result['bundle']['median_ms']:.2f} ms, PyTorch "
                f"eager {result['eager']['median_ms']:.2f} ms: {result['speedup']:.2f} times as "
                f"fast{valid}"
            )
        yield line("digits and photos: every prediction equals PyTorch's", "green")
        yield line(f"{facts['seconds']:.0f} seconds; everything is in {self.folder}\n")
        yield from _next_steps(self.bundles[1])


def _next_steps(bundle: Path) -> Iterable[RenderableType]:
    yield line("What to type next (. .venv/bin/activate first):", "bold")
    yield line(f"  tvm-flow tune {MODEL} --minutes 10    (into tuning_logs/)")
    yield line(f"  tvm-flow profile {bundle} --memory")
    yield line("  tvm-flow trace path/to/your_file.py:factory --input 1x3x224x224")
    yield line("  tvm-flow --help")


def _eager(module: torch.nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(module(torch.from_numpy(images)).numpy())


def _agreement(
    name: str, ours: NDArray[np.float32], theirs: NDArray[np.float32], labels: NDArray[np.int64]
) -> dict[str, Any]:
    """Compare logits, (N, classes) each. Raises :class:`NumericsError` for a single difference in
    the predictions."""
    same = int((ours.argmax(1) == theirs.argmax(1)).sum())
    if same != len(labels):
        raise NumericsError(
            f"The bundle of {name} and PyTorch disagree on {len(labels) - same} of {len(labels)} "
            "digits"
        )
    return {
        "name": name,
        "images": len(labels),
        "same": same,
        "accuracy": float((ours.argmax(1) == labels).mean()),
        "max_rel_error": float(np.abs(ours - theirs).max() / np.abs(theirs).max()),
    }
