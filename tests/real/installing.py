"""Find the installed command: in the environment that runs the tests, or in one that is created for them.

These tests use what pip installed, and never the sources of the clone.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

CLONE = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Installed:
    """The programs of a virtual environment, which are in the folder ``scripts``."""

    scripts: Path

    @property
    def python(self) -> str:
        return str(self.scripts / "python")

    @property
    def reserve(self) -> str:
        return str(self.scripts / "reserve")

    @property
    def sdlaunch(self) -> str:
        return str(self.scripts / "sdlaunch")


def find_or_install(shared: Path) -> Installed:
    """Return this environment if the clone is installed in it; otherwise install the clone, once for all test workers.

    :param shared: a folder that all workers of this test run have in common.
    """
    if _has_this_clone():
        return Installed(Path(sysconfig.get_path("scripts")))
    folder = shared / "installed"
    with _locked(shared / "installed.lock"):
        if not (folder / "complete").exists():
            _install(folder)
            (folder / "complete").touch()
    return Installed(folder / "venv" / "bin")


def _has_this_clone() -> bool:
    """Whether this environment has the commands of this clone, installed from its current sources."""
    library = sysconfig.get_path("purelib")
    if not all(Path(sysconfig.get_path("scripts"), name).exists() for name in ("reserve", "sdlaunch")):
        return False
    for distribution in importlib.metadata.distributions(name="reserve", path=[library]):
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if Path(unquote(urlsplit(origin.get("url", "")).path)) != CLONE:
            continue
        if origin.get("dir_info", {}).get("editable"):
            return True
        sources = [str(path.relative_to(CLONE)) for path in (CLONE / "reserve").rglob("*.py")]
        _, different, absent = filecmp.cmpfiles(CLONE, library, sources, shallow=False)
        return not different and not absent
    return False


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # setuptools writes into the folder that it builds from, so it gets a copy.
    source = folder / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "tox.ini"):
        if (CLONE / name).exists():
            source.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CLONE / name, source / name)
    shutil.copytree(CLONE / "reserve", source / "reserve", ignore=shutil.ignore_patterns("__pycache__"))
    venv = folder / "venv"
    _run(sys.executable, "-m", "venv", str(venv))
    _run(str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", str(source))
    # This file adds the packages of the current environment after its own: Flask, Django and so on.
    library = next((venv / "lib").glob("python*/site-packages"))
    (library / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")


def _run(*command: str) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    run = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert run.returncode == 0, f"{' '.join(command)} ended with exit code {run.returncode}:\n{run.stdout}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
