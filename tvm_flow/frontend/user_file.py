"""``path/to/file.py:factory``: run a user's file and say where it went wrong."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from tvm_flow.frontend.weights import article
from tvm_flow.support.errors import ModelError, TvmFlowError

_OFFERED = 8  # names of factories in an error message


def call_factory(path: Path, factory: str) -> nn.Module:
    """Execute ``path`` and return what its ``factory()`` makes.

    Random numbers start from seed 0, so that a model without weights is the same in every run;
    the caller's random state is left alone. The file may import what lies beside it.

    Raises :class:`ModelError` for a file that does not exist, compile or run, a factory that is
    not there, fails or wants arguments, and a result that is not an ``nn.Module``. An error of
    this project raised by the factory passes through.
    """
    if not path.is_file():
        raise ModelError(
            f"The file {path} does not exist", fix="check the path before the colon of --model"
        )
    with _beside(path), torch.random.fork_rng(devices=[]), _usual_modes():
        torch.manual_seed(0)
        user = _execute(path)
        make = _find(user, path, factory)
        try:
            model = make()
        except (Exception, SystemExit) as error:
            if isinstance(error, TvmFlowError):
                raise
            raise _failure(f"{factory}() in {path} failed", error, path) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{factory}() in {path} returned {article(type(model).__name__)}",
            why="a torch.nn.Module was expected",
            fix=f"return the model from {factory}()",
        )
    return model


@contextmanager
def _usual_modes() -> Iterator[None]:
    """Whatever the file switches ends with it."""
    dtype = torch.get_default_dtype()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)


def free_of_inference_mode(module: nn.Module) -> None:
    """Replace tensors that were made in inference mode by plain ones: PyTorch exports no others.
    Shared ones stay shared."""
    plain: dict[int, torch.Tensor] = {}
    with torch.inference_mode(False):
        for part in module.modules():
            stores: tuple[Any, Any] = part._parameters, part._buffers
            for tensors in stores:
                for name, old in tensors.items():
                    if old is None or is_lazy(old) or not old.is_inference():
                        continue
                    if id(old) not in plain:
                        copy = old.clone()
                        parameter = isinstance(old, nn.Parameter)
                        plain[id(old)] = nn.Parameter(copy, False) if parameter else copy
                    tensors[name] = plain[id(old)]


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Imports inside the file find its neighbours, as when it is run as a script."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _execute(path: Path) -> ModuleType:
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"_tvm_flow_model_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} is not a Python file", fix="pass --model file.py:factory")
    user = importlib.util.module_from_spec(spec)
    sys.modules[name] = user  # dataclasses and pickling look their module up there
    try:
        spec.loader.exec_module(user)
    except SyntaxError as error:
        raise ModelError(
            f"{path} is not valid Python",
            why=f"{error.msg} at {error.filename}:{error.lineno}",
            fix="correct that line",
        ) from error
    except (Exception, SystemExit) as error:
        raise _failure(f"{path} cannot be executed", error, path) from error
    return user


def _find(user: ModuleType, path: Path, factory: str) -> Any:
    make = getattr(user, factory, None)
    if make is None:
        own = _factories(user)
        close = difflib.get_close_matches(factory, own, n=1)
        offered = ", ".join(own[:_OFFERED]) + (", ..." if len(own) > _OFFERED else "")
        raise ModelError(
            f"{path} does not define {factory}",
            why=f"callable without arguments there: {offered}" if own else "it defines no factory",
            fix=f"pass --model {path}:{(close or own or ['factory'])[0]}",
        )
    if isinstance(make, nn.Module) or not callable(make):
        raise ModelError(
            f"{factory} in {path} is {article(type(make).__name__)}, not a function",
            why="it is called, without arguments, to make the model",
            fix="wrap it in a function that returns the model",
        )
    missing = _required(make)
    if missing:
        raise ModelError(
            f"{factory} in {path} wants arguments",
            why=f"{', '.join(missing)} has no default",
            fix="write a factory without arguments that calls it",
        )
    return make


def _factories(user: ModuleType) -> list[str]:
    """Functions without required arguments and module classes that the file itself defines."""
    return [
        name
        for name, value in vars(user).items()
        if (inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, nn.Module)))
        and not name.startswith("_")
        and value.__module__ == user.__name__
        and not _required(value)
    ]


def _required(make: Any) -> list[str]:
    """Names of the parameters without default."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # some callables written in C have no signature
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


def _failure(what: str, error: BaseException, path: Path) -> ModelError:
    fix = "correct it there"
    if isinstance(error, ImportError):
        fix = "install the package, or put its folder in PYTHONPATH"
    return ModelError(what, why=describe(error, path), fix=fix)


def describe(error: BaseException, path: Path) -> str:
    """Type, message and ``file:line`` of the innermost frame in the user's file."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    place = (own or list(frames))[-1]
    return f"{type(error).__name__}: {error} at {place.filename}:{place.lineno}"
