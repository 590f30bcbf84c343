"""The installed command, and the clients of its servers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.real.installing import Installed, find_or_install
from tests.real.processes import run
from tests.real.serving import ServerProcess

Serve = Callable[..., ServerProcess]
Curl = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The programs of an environment into which pip installed this clone."""
    own = tmp_path_factory.getbasetemp()
    return find_or_install(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture
def serve(installed: Installed) -> Serve:
    """``serve("app", "http", "wsgi", NAME, ...)``: a context manager that runs the installed command on a free port."""

    def make(*arguments: str, bind: str = "127.0.0.1:0", **options: object) -> ServerProcess:
        return ServerProcess(installed.reserve, "-b", bind, *arguments, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def everything(serve: Serve) -> Iterator[ServerProcess]:
    """A server of the site ``everything`` with four threads."""
    with serve("app", "http", "wsgi", "everything", "--threads", "4") as server:
        yield server


@pytest.fixture
def curl(require_peer: Callable[[str], str]) -> Curl:
    """``curl(*arguments)``: runs curl, which has to succeed, and returns its output."""
    program = require_peer("curl")

    def curl(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        # -q: do not read the configuration file of the user who runs the tests.
        command = [program, "-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "120", *arguments]
        result = run(command, timeout=None, **options)
        assert result.returncode == 0, f"curl ended with exit code {result.returncode}: {result.stderr.decode()}"
        return result

    return curl


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority of this test alone."""
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def cert(authority: Authority) -> str:
    """A file with a certificate for ``a.test`` and its key."""
    return authority.issue("a", "a.test").both
