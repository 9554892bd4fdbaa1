"""Have a network converted in the environment that can, and keep the result while nothing changed.

Results lie in ``build/benchmarks/CASE/FORMAT[-THREADS]``.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.engines import Format, environments
from tvm_flow.support.errors import MeasurementError

FOLDER = environments.ROOT / "build" / "benchmarks"
_STAMP = ".fingerprint"
TIMEOUT_S = 3600.0


def converted(form: Format, case: str, threads: int, root: Path | None = None) -> Path:
    """The folder with ``case`` in a format below ``root``, converted first where it must be.

    Raises :class:`MeasurementError` with the converter's last words, and
    :class:`EnvironmentFault` where its environment is missing.
    """
    folder = (root or FOLDER) / case / (f"{form.name}-{threads}" if form.per_threads else form.name)
    python, state = environments.python(form.environment), fingerprint(form)
    stamp = folder.with_name(folder.name + _STAMP)
    if form.keep and folder.is_dir() and stamp.is_file() and stamp.read_text() == state:
        return folder
    stamp.unlink(missing_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as name:
        fresh = Path(name) / "files"
        fresh.mkdir()
        _run(python, form, case, fresh, threads)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    stamp.write_text(state)
    return folder


def _run(python: Path, form: Format, case: str, folder: Path, threads: int) -> None:
    module = "benchmarks.engines.formats"
    command = [str(python), "-m", module, form.name, case, str(folder), str(threads)]
    try:
        done = subprocess.run(
            command,
            cwd=environments.ROOT,
            env=environments.environ(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(
            f"{case} was not converted to {form.name} within {TIMEOUT_S:.0f} s"
        ) from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise MeasurementError(
            f"{case} cannot be converted to {form.name}",
            why=lines[-1][:300] if lines else f"status {done.returncode}",
        )


def fingerprint(form: Format) -> str:
    """Changes with everything a conversion depends on: versions, converter and networks."""
    here = Path(__file__).parent
    files = [
        *(here / "formats").glob("*.py"),
        *([here / "requirements" / f"{form.environment}.txt"] if form.environment else []),
        here.parent / "networks.py",
        *(environments.ROOT / "tvm_flow" / "models").glob("*.py"),
    ]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
