"""A loaded bundle: call it with arrays, feed it pictures, time it."""

import ctypes
import os
import threading

from tvm_flow.runtime import arrays, library
from tvm_flow.runtime.timing import Timing, summarise
from tvm_flow.support.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Union

    from tvm_flow.runtime.arrays import TensorSpec

    Place = Union[str, "os.PathLike[str]"]

_ORDERS = {"rgb": 0, "bgr": 1, "rgba": 2, "bgra": 3, "gray": 4}


class _Handles:
    """Owns a model and an instance of it."""

    def __init__(self, made: library.Library) -> None:
        self.library, self.model, self.instance = made, 0, 0
        # while the interpreter shuts down, too
        self._wait, self._close, self._unload = made.wait, made.close, made.unload

    def __del__(self) -> None:
        if self.instance:
            self._wait(self.instance)  # for a run that was started, and nobody waited for
            self._close(self.instance)
        if self.model:
            self._unload(self.model)


class Bundle:
    """A network ready to run; made by :func:`load`.

    Calling it copies its arguments into the network's own memory and runs; several threads may do
    so, one after the other. :meth:`run` runs on what is in :attr:`buffers`, where pre-processing
    can write directly. ``inputs`` and ``outputs`` say what the network takes and gives; ``labels``
    are the names of its classes, or ``None``.

    Pickling or copying a bundle loads it again from the same directory.
    """

    def __init__(
        self,
        directory: "Place",
        threads: "int | None" = None,
        pin: bool = False,
        shared_weights: bool = False,
    ) -> None:
        self.directory = os.path.abspath(os.fspath(directory))
        self._arguments = (self.directory, threads, pin, shared_weights)
        if threads is not None and threads < 1:
            raise UsageError(f"{threads} threads are not possible", fix="ask for 1 or more")
        made = library.library_for(self.directory)
        self._library, self._handles = made, _Handles(made)
        self._handles.model = library.load_model(
            made,
            None if os.path.isfile(self.directory) else self.directory,
            library.SHARED_WEIGHTS if shared_weights else 0,
        )
        options = library.Options(ctypes.sizeof(library.Options), library.PIN if pin else 0)
        options.threads = threads or 0
        self._instance = self._handles.instance = library.open_instance(
            made, self._handles.model, options
        )
        self._lock, self._process, self._started = threading.Lock(), os.getpid(), False
        info = library.ModelInfo()
        made.get_model_info(self._handles.model, ctypes.byref(info))
        self.model, self.target = (
            name.decode(errors="replace") for name in (info.name, info.target)
        )
        self.tolerance = info.tolerance
        self.threads = made.threads(self._instance)
        self.cores = [made.core(self._instance, i) for i in range(self.threads)]
        self.arena_bytes = made.arena_bytes(self._instance)
        self.labels = self._labels(info.labels)
        count, describe = made.input_count(self._instance), made.input_info
        self.inputs = arrays.specs(made, count, describe, self._instance)
        count, describe = made.output_count(self._instance), made.output_info
        self.outputs = arrays.specs(made, count, describe, self._instance)
        self._seen_results: list[Any] = []

    def __reduce__(self) -> "tuple[Any, ...]":
        return load, self._arguments

    def _labels(self, count: int) -> "list[str] | None":
        found = (self._library.label(self._handles.model, i) for i in range(count))
        return [name.decode(errors="replace") for name in found] if count else None

    def _mine(self) -> "Any":
        """The lock that keeps threads apart; after a fork nobody holds it."""
        if self._process != os.getpid():
            self._lock, self._process, self._started = threading.Lock(), os.getpid(), False
        return self._lock

    @property
    def buffers(self) -> "list[Any]":
        """The memory that inputs are read from, one array per input."""
        return self._views(self.inputs, self._library.input)

    @property
    def results(self) -> "list[Any]":
        """The memory that outputs are written to, one array per output: the next run changes it."""
        if not self._seen_results:
            self._seen_results = self._views(self.outputs, self._library.output)
        return list(self._seen_results)

    def _views(self, specs: "Sequence[TensorSpec]", address: "Any") -> "list[Any]":
        found = (address(self._instance, index) for index in range(len(specs)))
        return [arrays.view(spec, at, self._handles) for spec, at in zip(specs, found)]

    def __call__(self, *values: "Any") -> "Any":
        """Run on one array per input.

        An input is a NumPy array or what NumPy makes one of, or anything with the buffer protocol.
        Returns the output, or a tuple where the network has several: a new array each time, a
        memory view where there is no NumPy. Raises :class:`UsageError` for a wrong number, shape or
        type, or NaN and infinity that reach an output.
        """
        self._require_count(values)
        with self._mine():
            for index, value in enumerate(values):
                self._fill(value, index)
            return self._run()

    def _fill(self, value: "Any", index: int) -> None:
        if self._started:
            raise UsageError(
                "the run that start() began reads its inputs", fix="call wait() before new ones"
            )
        arrays.fill(self.inputs[index], self._library.input(self._instance, index), value)

    def _require_count(self, values: "Sequence[Any]") -> None:
        if len(values) != len(self.inputs):
            raise UsageError(
                f"the network takes {len(self.inputs)} input(s), {len(values)} given",
                fix="pass " + ", ".join(spec.name for spec in self.inputs),
            )

    def set_inputs(self, *values: "Any") -> None:
        """Fill every input: with an array as in calling the bundle, or from a file that is named
        (see :meth:`read_input`); without ``values`` with the bundle's own sample. Raises
        :class:`UsageError`."""
        if values:
            self._require_count(values)
        elif os.path.isfile(self.directory):
            raise UsageError(
                f"{self.directory} is a single file without a sample", fix="pass an --input"
            )
        for index in range(len(self.inputs)):
            value = values[index] if values else os.path.join(self.directory, sample_name(index))
            if isinstance(value, str) or hasattr(value, "__fspath__"):
                self.read_input(value, index)
            else:
                self.set_input(value, index)

    def set_input(self, value: "Any", index: int = 0) -> None:
        """Copy an array, or what can be made one, into input ``index``. Raises
        :class:`UsageError`."""
        with self._mine():
            self._fill(value, index)

    def run(self) -> "Any":
        """Run on the present content of :attr:`buffers`; results as in calling the bundle."""
        with self._mine():
            return self._run()

    def _run(self) -> "Any":
        self._library.require(self._library.run(self._instance))
        made = [arrays.copied(view) for view in self.results]
        return made[0] if len(made) == 1 else tuple(made)

    def start(self) -> None:
        """Begin a run on the present content of :attr:`buffers` and return at once."""
        with self._mine():
            self._library.require(self._library.start(self._instance))
            self._started = True

    def wait(self) -> "list[Any]":
        """Wait for the end of the run that :meth:`start` began; returns :attr:`results`."""
        status = self._library.wait(self._instance)
        self._started = False
        self._library.require(status)
        return self.results

    def set_picture(self, pixels: "Any", index: int = 0, order: str = "rgb") -> None:
        """Resize, crop and normalise a picture into input ``index``, as the bundle says.

        ``pixels``: height x width x channels bytes (height x width for ``"gray"``), C-contiguous,
        as OpenCV (``order="bgr"``) and NumPy have them. Raises :class:`UsageError`.
        """
        given = memoryview(pixels)
        channels = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "gray": 1}.get(order)
        shape = tuple(given.shape or ())
        if len(shape) == 2:
            shape += (1,)
        if channels is None or given.itemsize != 1 or len(shape) != 3 or shape[2] != channels:
            raise UsageError(
                f"{given.shape} are no {order} pixels",
                fix="pass uint8 of height x width x channels, and order=rgb, bgr, rgba, bgra, gray",
            )
        content = bytes(given)  # also makes it contiguous
        self._library.require(
            self._library.set_picture(
                self._instance, index, content, shape[1], shape[0], 0, _ORDERS[order]
            )
        )

    def read_input(self, path: "Place", index: int = 0) -> None:
        """Read a file into input ``index``: a picture (Pillow reads those other than .ppm), a .npy
        or raw .bin file. Raises :class:`UsageError`."""
        from tvm_flow.runtime.pictures import PICTURES, read_picture  # noqa: PLC0415

        name = os.fspath(path)
        if os.path.splitext(name)[1].lower() in PICTURES:
            self.set_picture(read_picture(name), index)
        else:
            self._library.require(
                self._library.read_input(self._instance, index, os.fsencode(name))
            )

    def time(self, runs: int = 50, warmup: int = 5) -> Timing:
        """Time ``runs`` single runs on the buffers as they are."""
        return summarise(self.seconds(runs, warmup))

    def seconds(self, runs: int, warmup: int = 0) -> "list[float]":
        """Seconds of each of ``runs`` single runs."""
        if runs < 1 or warmup < 0:
            raise UsageError(
                f"cannot time {runs} runs after {warmup} warm-up runs",
                fix="ask for 1 or more runs",
            )
        nanoseconds = (ctypes.c_uint64 * runs)()
        with self._mine():
            self._library.require(self._library.time(self._instance, warmup, runs, nanoseconds))
        return [1e-9 * value for value in nanoseconds]

    @property
    def steps(self) -> "list[str]":
        """Names of the functions that a run calls, in order."""
        count = self._library.step_count(self._instance)
        return [
            self._library.step_name(self._instance, i).decode(errors="replace")
            for i in range(count)
        ]

    def profile(self) -> "Sequence[float]":
        """Run once; seconds of each of :attr:`steps`."""
        nanoseconds = (ctypes.c_uint64 * self._library.step_count(self._instance))()
        with self._mine():
            self._library.require(self._library.profile(self._instance, nanoseconds))
        return [1e-9 * value for value in nanoseconds]

    def check(self, directory: "Place | None" = None) -> float:
        """Run the bundle's sample, or the one in another ``directory``, and compare with what
        the reference computed for it; returns the largest difference as a fraction of the largest
        expected magnitude. Raises :class:`NumericsError` where that exceeds :attr:`tolerance`."""
        error = ctypes.c_double()
        with self._mine():
            self._library.require(
                self._library.check(
                    self._instance,
                    os.fsencode(self.directory if directory is None else directory),
                    ctypes.byref(error),
                )
            )
        return error.value


def sample_name(index: int, what: str = "input") -> str:
    """The file with input number ``index`` of the sample in a bundle's directory; ``what`` may be
    ``"expected"``, of an output. The library knows them by the same rule."""
    return "sample_{}{}.npy".format(what, "" if index == 0 else f"_{index + 1}")


def load(
    directory: "Place",
    threads: "int | None" = None,
    pin: bool = False,
    shared_weights: bool = False,
) -> Bundle:
    """Load a bundle.

    Parameters
    ----------
    directory: what ``tvm-flow compile`` wrote: a directory, or a single library.
    threads: worker threads; by default as many as it was compiled for, at most one per core this
        process may use and what a cgroup's quota allows.
    pin: bind the calling thread, which computes too, to the first of the cores. For programs that
        do nothing else, and where cores differ (big.LITTLE).
    shared_weights: map the file of weights, so that all processes on the machine share it; the
        default reads it into huge pages, which is faster.

    Checksums, architecture and CPU features are checked before any code of the bundle is loaded.
    Raises :class:`BundleError`, and :class:`UsageError` for ``threads``.
    """
    return Bundle(directory, threads, pin, shared_weights)
