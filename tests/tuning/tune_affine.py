"""Tunes two small workloads: ``python tune_affine.py FOLDER TRIALS FAULTS``; one line per event."""

from __future__ import annotations

import sys

from tvm_flow.support.without_torch import without_torch

with without_torch():  # it has no use here
    import faulty_family

    from tvm_flow import targets
    from tvm_flow.ir.tasks import Task
    from tvm_flow.support.errors import TvmFlowError
    from tvm_flow.tuning.options import TuneOptions
    from tvm_flow.tuning.records.store import RecordStore
    from tvm_flow.tuning.search.report import TuneEvent
    from tvm_flow.tuning.search.tuner import tune_tasks


def show(event: TuneEvent) -> None:
    print(event.kind, event.report.measured, event.report.interrupted, flush=True)


def main(folder: str, trials: str, faults: str) -> None:
    board = targets.load("native")
    tasks = [
        Task(faulty_family.workload(n, faults=int(faults)), modules=(f"layer{n}",))
        for n in (4096, 1 << 16)
    ]
    try:
        tune_tasks(
            tasks,
            board,
            store=RecordStore(folder, board.log_name),
            trials=int(trials),
            early_stop=None,
            on_event=show,
            options=TuneOptions(trial_timeout_s=5, trial_budget_s=0.003, final_rounds=5),
        )
    except TvmFlowError as error:
        print(error)
        print("readable:", len(RecordStore(folder, board.log_name)))


if __name__ == "__main__":
    main(*sys.argv[1:])
