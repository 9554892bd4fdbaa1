"""Runs on a board, not here: PyTorch eager on an exported program, timed like the bundle.

``python3 eager_on_board.py PROGRAM.pt2 INPUTS.npz OUTPUTS.npz THREADS RUNS CORE,CORE`` reads all
inputs and saves all outputs, in their order, and prints one line of JSON: ``torch`` (version) and
``seconds``, one value per run. It needs PyTorch and nothing of tvm-flow.
"""

from __future__ import annotations

import json
import os
import sys
import time

WARM_UP = 3


def main(program: str, given: str, result: str, threads: str, runs: str, cores: str) -> None:
    wanted = {int(core) for core in cores.split(",")} & os.sched_getaffinity(0)
    if wanted:
        os.sched_setaffinity(0, wanted)
    import numpy as np  # noqa: PLC0415 - after the cores are chosen: its threads inherit them
    import torch  # noqa: PLC0415
    from torch.utils import _pytree as pytree  # noqa: PLC0415

    torch.set_num_threads(int(threads))
    module = torch.export.load(program).module()
    with np.load(given) as saved:
        inputs = [torch.from_numpy(saved[name]) for name in saved.files]
    seconds = []
    with torch.inference_mode():
        # a network may write to its inputs: the result is that of what was given
        y = module(*(value.clone() for value in inputs))
        for _ in range(WARM_UP):
            module(*inputs)
        for _ in range(int(runs)):
            start = time.perf_counter()
            module(*inputs)
            seconds.append(time.perf_counter() - start)
    outputs = [leaf for leaf in pytree.tree_flatten(y)[0] if leaf is not None]
    np.savez(result, *(output.numpy() for output in outputs))
    print(json.dumps({"torch": torch.__version__, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
