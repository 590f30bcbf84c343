"""The installed command, and what talks to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.real.installing import Installed, find_or_install
from tests.real.serving import Served, clean_environ

Serve = Callable[..., Served]
Curl = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The programs of an environment into which pip installed this checkout."""
    mine = tmp_path_factory.getbasetemp()
    return find_or_install(mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine)


@pytest.fixture
def serve(installed: Installed) -> Serve:
    """``serve("app", "http", "wsgi", NAME, ...)``: the installed command on a free port, as a context."""

    def make(*words: str, bind: str = "127.0.0.1:0", **options: object) -> Served:
        return Served(installed.reserve, "-b", bind, *words, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def curl(require_peer: Callable[[str], str]) -> Curl:
    """``curl(*arguments)``: runs curl, quiet but for errors; it has to succeed."""
    program = require_peer("curl")

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        # -q: no configuration file of whoever runs the tests.
        command = [program, "-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "120", *arguments]
        done = subprocess.run(command, capture_output=True, check=False, env=clean_environ(), **options)  # type: ignore[call-overload]
        assert done.returncode == 0, f"curl ended with {done.returncode}: {done.stderr.decode()}"
        return done  # type: ignore[no-any-return]

    return run


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority that nobody else knows."""
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose name leaves room for that of a UNIX socket (108 octets)."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="r") as name:
        yield Path(name)
