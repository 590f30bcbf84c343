"""Where the installed command is: in the environment that runs the tests, or in one that is made for them.

The suite must never test the sources next to it by accident: what is used here was put in place by pip.
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

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Installed:
    """The folder of an environment's programs."""

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
    """Give the command of this environment when it is the checkout's, else install the checkout, once for all workers.

    :param shared: a folder that all workers of this run have in common.
    """
    if _is_ours():
        return Installed(Path(sysconfig.get_path("scripts")))
    folder = shared / "installed"
    with _locked(shared / "installed.lock"):
        if not (folder / "complete").exists():
            _install(folder)
            (folder / "complete").touch()
    return Installed(folder / "venv" / "bin")


def _is_ours() -> bool:
    """Whether this environment has the command, from this checkout, and as the checkout is now."""
    library = sysconfig.get_path("purelib")
    if not all(Path(sysconfig.get_path("scripts"), name).exists() for name in ("reserve", "sdlaunch")):
        return False
    for distribution in importlib.metadata.distributions(name="reserve", path=[library]):
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if Path(unquote(urlsplit(origin.get("url", "")).path)) != CHECKOUT:
            continue
        if origin.get("dir_info", {}).get("editable"):
            return True
        sources = [str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "reserve").rglob("*.py")]
        _, different, absent = filecmp.cmpfiles(CHECKOUT, library, sources, shallow=False)
        return not different and not absent
    return False


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # From a copy: setuptools writes into the folder that it builds from.
    source = folder / "source"
    for name in ("setup.py", "README.md", "LICENSE", "MANIFEST.in", "tox.ini"):
        if (CHECKOUT / name).exists():
            source.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, source / name)
    shutil.copytree(CHECKOUT / "reserve", source / "reserve", ignore=shutil.ignore_patterns("__pycache__"))
    venv = folder / "venv"
    _run(sys.executable, "-m", "venv", str(venv))
    _run(str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", str(source))
    # Behind its own packages it finds those of this environment: Flask, Django and what else the tests serve.
    library = next((venv / "lib").glob("python*/site-packages"))
    (library / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")


def _run(*command: str) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    done = subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
