"""``compile``: a network and the tuning records -> a verified bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tvm_flow.api.boards import board_of, layout_of, libc_of, store_of
from tvm_flow.api.compile_report import CompileReport
from tvm_flow.api.picture import Picture, recipe_for
from tvm_flow.api.values import BUNDLE, FORMATS, TVM, ModelLike, TargetLike, target_value
from tvm_flow.support.errors import UsageError


def compile(
    model: ModelLike,
    *,
    output: str | Path,
    target: TargetLike = "native",
    threads: int | None = None,
    layout: str = "NCHW",
    records: str | Path | None = None,
    labels: Sequence[str] | None = None,
    picture: Picture | None = None,
    runner: bool = True,
    libc: str | None = None,
    format: str = BUNDLE,
    strict: bool = False,
    dump: str | Path | None = None,
) -> CompileReport:
    """Compile a network into a bundle: code, weights, sample, and the runtime.

    Parameters
    ----------
    model, layout: as for :func:`tvm_flow.trace`.
    output: directory to create; an existing bundle there is replaced in one step.
    target: a board (see ``tvm-flow targets``), or a :class:`tvm_flow.Target`.
    threads: worker threads, by default the board's own number.
    records: folder with one folder of tuning records per board (default: see
        :func:`tvm_flow.api.boards.records_root`).
    labels: class names, one per output.
    picture: how a picture becomes the input, where that is not ImageNet's way.
    runner: include the program that runs the bundle on the command line, and an installer.
    libc: what it is linked for: ``"musl"``, or the oldest version of glibc (``"2.28"``); by default
        the board's.
    format: ``"bundle"``, a folder; ``"single-file"``, a library with everything inside that exports
        the interface of ``tvm_flow.h``; ``"tvm"``, a library for ``tvm.runtime.load_module`` and
        ``relax.VirtualMachine``. ``output`` is then the file.
    strict: refuse a network with operators that no kernel computes, which run slowly.
    dump: folder to write the graph to after each pass, and each kernel's TIR and assembly.

    Every kernel is built from the best record of its workload on that board, and with the default
    schedule where there is none. The bundle is run on a random sample (seed 0) and compared with
    PyTorch eager before it appears at ``output``.

    Raises :class:`UsageError`, :class:`ModelError`, :class:`RecordError`, :class:`CompileError`,
    :class:`EnvironmentFault` without a C compiler for the target, and :class:`NumericsError` where
    the result is wrong; ``output`` is then as it was.
    """
    layout = layout_of(layout)
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}", fix=f"one of {', '.join(FORMATS)}")
    if format == TVM and picture is not None:
        raise UsageError(
            "A library for TVM's own virtual machine takes no pictures",
            why="it has nothing but the network",
            fix="leave the flags of pictures away, or compile a bundle",
        )
    board = board_of(target, threads)
    device = target_value(target).device
    store = store_of(board, records, device)
    # TVM and torch take seconds to import: what can be refused without them is refused by now
    from tvm_flow.api import network_to_bundle  # noqa: PLC0415
    from tvm_flow.api.networks import load_model  # noqa: PLC0415
    from tvm_flow.backends import backend_of  # noqa: PLC0415
    from tvm_flow.bundle.write import BundleOptions  # noqa: PLC0415

    backend, loaded = backend_of(device), load_model(model)
    recipe = None if format == TVM else recipe_for(loaded.picture_shape, picture)
    return network_to_bundle.build(
        loaded, Path(output), board, store,
        backend=backend, layout=layout,
        options=BundleOptions(labels=labels, picture=recipe, runner=runner, libc=libc_of(libc)),
        format=format, strict=strict, dump=None if dump is None else Path(dump),
    )  # fmt: skip
