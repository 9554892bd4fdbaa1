"""libtvm_flow as ctypes sees it: where it is, its functions, its errors.

This package runs under every Python from 3.6 on, with any NumPy or none.
"""

import binascii
import ctypes
import os
import struct
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int32, c_size_t, c_uint32, c_void_p

from tvm_flow.support.errors import (
    BundleError,
    EnvironmentFault,
    NumericsError,
    TvmFlowError,
    UsageError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "libtvm_flow.so"
USAGE, BUSY, BUNDLE, NUMERICS, ENVIRONMENT = 2, 3, 7, 8, 10
SHARED_WEIGHTS = 1
PIN = 1

_ERRORS: "dict[int, type[TvmFlowError]]" = {
    USAGE: UsageError,
    BUSY: UsageError,
    BUNDLE: BundleError,
    NUMERICS: NumericsError,
    ENVIRONMENT: EnvironmentFault,
}
_MACHINES = {"x86_64": 62, "aarch64": 183}  # ELF's e_machine


class Options(ctypes.Structure):
    _fields_ = [
        ("size", c_uint32),
        ("flags", c_uint32),
        ("set", c_int32),
        ("threads", c_int32),
        ("cores", POINTER(c_int32)),
        ("core_count", c_int32),
    ]


class TensorInfo(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p),
        ("layout", c_char_p),
        ("shape", POINTER(ctypes.c_uint64)),
        ("dimensions", c_int32),
        ("type", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("bytes", ctypes.c_uint64),
    ]


class ModelInfo(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p),
        ("target", c_char_p),
        ("version", c_char_p),
        ("threads", c_int32),
        ("alignment", c_int32),
        ("sets", c_int32),
        ("labels", c_int32),
        ("weights_bytes", ctypes.c_uint64),
        ("code_bytes", ctypes.c_uint64),
        ("tolerance", c_double),
    ]


_TIMES = POINTER(ctypes.c_uint64)
_INT = c_int32
#: name -> (result, arguments)
_FUNCTIONS: "dict[str, Any]" = {
    "api_version": (c_int, []),
    "version": (c_char_p, []),
    "last_error": (c_char_p, []),
    "load": (c_int, [c_char_p, c_uint32, POINTER(c_void_p)]),
    "unload": (None, [c_void_p]),
    "get_model_info": (None, [c_void_p, POINTER(ModelInfo)]),
    "label": (c_char_p, [c_void_p, _INT]),
    "open": (c_int, [c_void_p, POINTER(Options), POINTER(c_void_p)]),
    "close": (c_int, [c_void_p]),
    "input_count": (_INT, [c_void_p]),
    "output_count": (_INT, [c_void_p]),
    "input_info": (c_int, [c_void_p, _INT, POINTER(TensorInfo)]),
    "output_info": (c_int, [c_void_p, _INT, POINTER(TensorInfo)]),
    "input": (c_void_p, [c_void_p, _INT]),
    "output": (c_void_p, [c_void_p, _INT]),
    "bind_input": (c_int, [c_void_p, _INT, c_void_p, c_size_t]),
    "bind_output": (c_int, [c_void_p, _INT, c_void_p, c_size_t]),
    "run": (c_int, [c_void_p]),
    "start": (c_int, [c_void_p]),
    "wait": (c_int, [c_void_p]),
    "threads": (_INT, [c_void_p]),
    "core": (_INT, [c_void_p, _INT]),
    "arena_bytes": (ctypes.c_uint64, [c_void_p]),
    "time": (c_int, [c_void_p, _INT, _INT, _TIMES]),
    "step_count": (_INT, [c_void_p]),
    "step_name": (c_char_p, [c_void_p, _INT]),
    "profile": (c_int, [c_void_p, _TIMES]),
    "absences": (c_uint32, [c_void_p]),
    "set_picture": (c_int, [c_void_p, _INT, c_void_p, _INT, _INT, c_size_t, c_int]),
    "read_input": (c_int, [c_void_p, _INT, c_char_p]),
    "check": (c_int, [c_void_p, c_char_p, POINTER(c_double)]),
    "checksum": (ctypes.c_uint64, [c_void_p, c_size_t]),
}


def failure(status: int, sentence: str) -> TvmFlowError:
    """The error behind a status other than 0, of which libtvm_flow says ``sentence``."""
    return _ERRORS.get(status, TvmFlowError).told(sentence)


class Library:
    """The functions of one library, without their prefix ``tvmf_``."""

    def __init__(self, path: str) -> None:
        try:
            opened = ctypes.CDLL(path)
        except OSError as error:
            raise BundleError(
                "cannot load " + path,
                why=str(error),
                fix="copy the bundle to a file system that is not mounted noexec, or compile it "
                "for this system's C library",
            ) from None
        try:
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(opened, "tvmf_" + name)
                function.restype, function.argtypes = result, arguments
                setattr(self, name, function)
        except AttributeError as error:
            raise BundleError(
                path + " is older than this package", why=str(error), fix="compile the bundle again"
            ) from None
        self.path = path

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> "Any": ...

    def require(self, status: int) -> None:
        """Raise the error behind a status other than 0."""
        if status:
            raise failure(status, self.last_error().decode(errors="replace"))


#: By checksum and size.
_loaded: "dict[tuple[int, int], Library]" = {}


def library_for(directory: str) -> Library:
    """The library to run the bundle in ``directory`` with: the one beside this package (as
    ``runtime-wheel`` and bundles have it), else the bundle's own; or the one that ``directory``
    is, with a bundle inside.

    Bundles of one version have the same library, which is loaded once. Raises
    :class:`BundleError`.
    """
    path = directory if os.path.isfile(directory) else _find(directory)
    content = _content(path)
    if content not in _loaded:
        _require_undamaged(path, content)
        _require_machine(path)
        _loaded[content] = Library(path)
    return _loaded[content]


def _find(directory: str) -> str:
    here = os.path.dirname(os.path.abspath(__file__))
    bundle = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    for folder in (here, os.path.join(bundle, "lib"), os.path.join(directory, "lib")):
        path = os.path.join(folder, NAME)
        if os.path.exists(path):
            return os.path.realpath(path)
    if not os.path.exists(os.path.join(directory, "manifest.json")):
        raise BundleError(
            f"{directory} is not a bundle",
            why="it has no manifest.json",
            fix="pass the directory that tvm-flow compile --output wrote",
        )
    raise BundleError(
        f"{directory} has no lib/{NAME}",
        why="it is incomplete, or was written by an older version of tvm-flow",
        fix="copy it again, or compile it again",
    )


def _content(path: str) -> "tuple[int, int]":
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise BundleError(
            "cannot read " + path, why=str(error.strerror), fix="copy the bundle again"
        ) from None
    return binascii.crc32(content) & 0xFFFFFFFF, len(content)


def _require_undamaged(path: str, content: "tuple[int, int]") -> None:
    """Against the checksum that a bundle has beside the library."""
    try:
        with open(os.path.splitext(path)[0] + ".crc32") as file:
            wanted = file.read().strip()
    except (OSError, UnicodeDecodeError):
        return
    if wanted != "{:08x} {}".format(*content):
        raise BundleError(
            path + " is damaged",
            why="it was changed after it was written",
            fix="copy the bundle again, or compile it again",
        )


def _require_machine(path: str) -> None:
    """The dynamic linker's own words for a library of another machine help nobody."""
    with open(path, "rb") as file:
        header = file.read(20)
    here = os.uname().machine
    if len(header) < 20 or header[:6] != b"\x7fELF\x02\x01":
        raise BundleError(path + " is damaged", fix="copy the bundle again, or compile it again")
    (found,) = struct.unpack_from("<H", header, 18)
    if found != _MACHINES.get(here):
        names = {number: name for name, number in _MACHINES.items()}
        raise BundleError(
            "the bundle cannot run here",
            why="it is for {}, this machine is {}".format(
                names.get(found, f"ELF machine {found}"), here
            ),
            fix="copy it to the board, or compile with --target native",
        )


def load_model(library: Library, directory: "str | None", flags: int) -> int:
    """A model's handle. Raises what the library tells."""
    handle = c_void_p()
    path = None if directory is None else os.fsencode(directory)
    library.require(library.load(path, flags, byref(handle)))
    return handle.value or 0


def open_instance(library: Library, model: int, options: Options) -> int:
    handle = c_void_p()
    library.require(library.open(model, byref(options), byref(handle)))
    return handle.value or 0
