"""The environment in which all servers run: a virtual environment with the peers, and reserve as it would be installed.

It is built once for each version and build of Python, below ``.venv-bench`` in the clone; reserve is installed anew
each time, with its extension module if it has one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import ROOT, Unmeasurable, environment
from benchmarks.runtime import HOSTED, installed

__all__ = ["DISTRIBUTIONS", "Environment", "install", "locked", "prepare"]

FOLDER = ROOT / ".venv-bench"
DISTRIBUTIONS = (
    "cheroot", "waitress", "gunicorn", "granian", "pyuwsgi", "bjoern-binary", "fastpysgi", "flask", "django",
)  # fmt: skip
"""What is installed beside reserve. A distribution that cannot be installed is left out, and the report says so."""
_COMPILED = ("markupsafe",)
"""What is compiled here for a Python that is no final release: wheels for its version are for the binary interface of
the final one. A server with this trouble is left out, and this is what Flask needs."""
_INSTALL_TIMEOUT = 600.0
_NAME = (
    "import platform, sys; "
    "print(f'{platform.python_implementation()}-{platform.python_version()}{sys.abiflags}'.lower(), end='')"
)
_VERSIONS = (
    "import json, importlib.metadata as m; "
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The Python with everything, and what it has."""

    python: Path
    versions: dict[str, str]
    """By name of the distribution in lower-case letters."""
    extensions: list[str]
    """The compiled modules of reserve; empty: there is only the pure form."""
    nginx: str | None
    """The path of nginx."""
    failures: dict[str, str]
    """By distribution: the last words of pip."""

    def has(self, distribution: str) -> bool:
        return distribution.lower() in self.versions


def prepare(
    folder: Path = FOLDER,
    *,
    root: Path = ROOT,
    interpreter: str = sys.executable,
    distributions: Sequence[str] = DISTRIBUTIONS,
) -> Environment:
    """Build the environment, or bring it up to date; a minute the first time, seconds afterwards.

    :param interpreter: the Python of which it is made.
    :param distributions: what is installed beside reserve.
    :raises Unmeasurable: it cannot be built, or reserve cannot be installed.
    """
    python = install(folder, root=root, interpreter=interpreter)
    compiled = ["--no-binary", ",".join(_COMPILED)] if _is_preview(python) else []
    present = _versions(python)
    failures = {}
    for name in distributions:
        if name not in present:
            done = _pip(python, "install", *compiled, name)
            if done.returncode != 0:
                failures[name] = done.stderr.strip()[-200:]
    return Environment(
        python=python,
        versions=_versions(python),
        extensions=installed(str(python)).extensions(),
        nginx=shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])),
        failures=failures,
    )


def install(folder: Path = FOLDER, *, root: Path = ROOT, interpreter: str = sys.executable) -> Path:
    """Install reserve into the environment, which is made when there is none; return the path of its Python.

    :raises Unmeasurable: there cannot be an environment, or reserve cannot be installed.
    """
    home = folder / _run([interpreter, "-I", "-c", _NAME], f"{interpreter} does not run").stdout
    python = home / "bin" / "python"
    if not python.exists():
        _run([interpreter, "-m", "venv", "--clear", str(home)], "python -m venv failed")
    _install_reserve(python, root)
    return python


@contextlib.contextmanager
def locked(folder: Path = FOLDER) -> Iterator[None]:
    """Keep the environment for this process: another run would install reserve anew under the servers of this one.

    :raises Unmeasurable: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unmeasurable(f"another benchmark uses {folder}") from None
        yield


def _install_reserve(python: Path, root: Path) -> None:
    """Install the package of the clone as a user would, from a copy, because pip leaves files where it builds."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        copy = Path(temporary, "reserve")
        ignored = shutil.ignore_patterns(
            ".*", "tests", "benchmarks", "build", "dist", "*.egg-info", "__pycache__", "*.so"
        )
        shutil.copytree(root, copy, ignore=ignored)
        _pip(python, "uninstall", "--yes", "reserve")
        done = _pip(python, "install", "--no-deps", str(copy))
    if done.returncode != 0:
        raise Unmeasurable(f"reserve cannot be installed: {done.stderr.strip()[-600:]}")


def _is_preview(python: Path) -> bool:
    """Whether it is an alpha, a beta or a candidate."""
    code = "import sys; print(sys.version_info.releaselevel, end='')"
    return _run([str(python), "-I", "-c", code], "the environment has no Python that works").stdout != "final"


def _versions(python: Path) -> dict[str, str]:
    done = _run([str(python), "-I", "-c", _VERSIONS], "the environment has no Python that works")
    return dict(json.loads(done.stdout))


def _pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", *arguments, "--disable-pip-version-check", "--quiet"]
    return subprocess.run(
        command, cwd=HOSTED, env=_variables(), capture_output=True, text=True, timeout=_INSTALL_TIMEOUT
    )


def _run(command: list[str], failure: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=HOSTED, env=_variables(), capture_output=True, text=True, timeout=_INSTALL_TIMEOUT
    )
    if done.returncode != 0:
        raise Unmeasurable(f"{failure}: {done.stderr.strip()[-600:]}")
    return done


def _variables() -> dict[str, str]:
    """Without the clone on the path: the installed reserve is the one that counts."""
    return {name: value for name, value in environment().items() if name != "PYTHONPATH"}
