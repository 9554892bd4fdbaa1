"""Every error a user can cause or meet, in one place.

Each carries one line in three parts: what happened, why, and the command or edit that fixes it.
The command line prints that line and exits with ``exit_code``; ``--debug`` adds the traceback.

This file is copied into every bundle and runs under every Python from 3.6 on.
"""


class TvmFlowError(Exception):
    """Base class: an expected failure with a fix.

    Parameters
    ----------
    what: what happened, a full sentence without the final stop.
    why: the cause, where it is known.
    fix: what the user does or types next.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(str(self))

    @classmethod
    def told(cls, line: str) -> "TvmFlowError":
        """From a line that is complete already, such as libtvm_flow's."""
        what, _, fix = line.partition(". Fix: ")
        return cls(what, fix=fix)

    def __str__(self) -> str:
        line = self.what
        if self.why:
            line += f": {self.why}"
        if self.fix:
            line += f". Fix: {self.fix}"
        return " ".join(line.split())


class UsageError(TvmFlowError):
    """A flag or argument that cannot mean anything (unknown name, zero trials, bad shape)."""

    exit_code = 2


class ModelError(TvmFlowError):
    """The model cannot be loaded, exported or run by PyTorch."""

    exit_code = 3


class ImportUnsupportedError(ModelError):
    """The model contains an operator that cannot be imported into Relax."""


class TargetError(TvmFlowError):
    """A target file is unknown or invalid."""

    exit_code = 2


class RecordError(TvmFlowError):
    """A tuning record file is corrupt, foreign, locked or cannot be written."""

    exit_code = 4


class TuningError(TvmFlowError):
    """Tuning ended without a single usable measurement."""

    exit_code = 5


class CompileError(TvmFlowError):
    """A kernel or a bundle could not be built or written."""

    exit_code = 6


class BundleError(TvmFlowError):
    """A bundle is damaged, incomplete, or made for another machine or runtime."""

    exit_code = 7


class NumericsError(TvmFlowError):
    """A result differs from the reference by more than the tolerance."""

    exit_code = 8


class MeasurementError(TvmFlowError):
    """A timing could not be taken or is not valid (other load, throttling)."""

    exit_code = 9


class BoardError(TvmFlowError):
    """No board or tracker there, lost for good, or not fit to measure on."""

    exit_code = 11


class EnvironmentFault(TvmFlowError):
    """The installation is unusable: wrong versions, missing linker, broken ABI."""

    exit_code = 10


class MessageError(EnvironmentFault):
    """A worker process and the one that started it do not understand each other: their versions
    differ, or one of them has an error."""
