"""``--access-log-file`` and ``--error-log-file``: which file has which lines, and SIGUSR1 after it was renamed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.hooks import Hooks
from reserve.testing import running
from tests.cli.fakes import ROOT
from tests.cli.test_service import needs_root, nobody, opened
from tests.cli.test_service import python as python
from tests.clients import free_port
from tests.real.processes import clean_environ
from tests.real.serving import ServerProcess, fetch
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals")

APP = """
import os, sys
print("imported", file=sys.stderr)
def application(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        raise ValueError("it fails")
    print("printed", environ["PATH_INFO"], file=environ["wsgi.errors"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


class Site(ServerProcess):
    """The command with that application, in a directory for its files."""

    def __init__(self, directory: Path, *options: str, python: str = sys.executable, app: str = APP) -> None:
        self.port = free_port()
        (directory / "logged.py").write_text(app)
        super().__init__(
            python, "-m", "reserve", "app", "http", "wsgi", "logged", "-b", f"127.0.0.1:{self.port}",
            "--threads", "2", "--stop-timeout", "30", *options,
            log=None, cwd=directory, environ={"PYTHONPATH": ROOT},
        )  # fmt: skip

    def get(self, path: str = "/") -> int:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(client):
            return fetch(client, "GET", path)[0]

    def has(self, text: str) -> bool:
        return any(text in line for line in self.stderr)


def count(path: Path, text: str) -> int:
    return path.read_text().count(text) if path.exists() else 0


def test_the_access_log_goes_to_its_file_and_to_the_new_one_after_sigusr1(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with Site(tmp_path, "--access-log-file", "access.log", "--access-log-format", "json") as server:
        server.get("/one")
        eventually(lambda: count(log, "/one") == 1)
        log.rename(tmp_path / "old.log")
        server.get("/two")
        eventually(lambda: count(tmp_path / "old.log", "/two") == 1)
        server.process.send_signal(signal.SIGUSR1)
        eventually(log.exists)
        server.get("/three")
        eventually(lambda: count(log, "/three") == 1)
        eventually(lambda: server.has(f"SIGUSR1: {log} is opened again"))
    assert server.stdout == []
    for path, lines in ((log, 1), (tmp_path / "old.log", 2)):
        assert [json.loads(line)["status"] for line in path.read_text().splitlines()] == [200] * lines


def test_standard_error_becomes_the_file_when_the_server_is_ready(tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    with Site(tmp_path, "--error-log-file", "error.log") as server:
        assert server.has("imported")
        server.get("/one")
        server.get("/fail")
        eventually(lambda: count(log, "ValueError: it fails") and count(log, "printed /one"))
        log.rename(tmp_path / "old.log")
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: count(log, f"SIGUSR1: {log} is opened again"))
        server.get("/two")
        eventually(lambda: count(log, "printed /two"))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    assert not server.has("printed")
    assert log.read_text().endswith("reserve: the server has stopped\n")
    assert count(tmp_path / "old.log", "printed /two") == 0


def test_processes_share_the_files_and_open_all_of_them_again(tmp_path: Path) -> None:
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    options = ("--processes", "2", "--access-log-file", "access.log", "--error-log-file", "error.log")
    with Site(tmp_path, *options, "--access-log-format", "%(process)s %(U)s") as server:
        eventually(lambda: count(error, "2 processes serve") or server.has("2 processes serve"))
        seen: set[str] = set()

        def pids() -> set[str]:
            server.get("/before")
            seen.update(re.findall(r"^(\d+) ", access.read_text() if access.exists() else "", re.M))
            return seen

        eventually(lambda: len(pids()) == 2)
        for path in (access, error):
            path.rename(path.with_suffix(".1"))
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: count(error, f"SIGUSR1: {access} is opened again"))
        eventually(lambda: count(error, f"SIGUSR1: {error} is opened again"))
        after: set[str] = set()

        def all_write_to_the_new_file() -> bool:
            server.get("/after")
            after.update(re.findall(r"^(\d+) /after$", access.read_text(), re.M))
            return after == seen

        eventually(all_write_to_the_new_file)
    for line in (*access.read_text().splitlines(), *access.with_suffix(".1").read_text().splitlines()):
        assert re.fullmatch(r"\d+ /(before|after)", line)


def start(directory: Path, *options: str, app: str = APP) -> subprocess.CompletedProcess[str]:
    (directory / "logged.py").write_text(app)
    return subprocess.run(
        [sys.executable, "-m", "reserve", "app", "http", "wsgi", "logged", "-b", "127.0.0.1:0", *options],
        cwd=directory, env=clean_environ(PYTHONPATH=ROOT), capture_output=True, text=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip


@pytest.mark.parametrize("option", ["--access-log-file", "--error-log-file"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_file_that_cannot_be_opened_ends_the_start(tmp_path: Path, option: str, processes: str) -> None:
    result = start(tmp_path, option, "nowhere/x.log", "--processes", processes)
    assert result.returncode == 1
    assert f"reserve: {option}: cannot open nowhere/x.log: No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_start_that_fails_says_so_on_standard_error(tmp_path: Path) -> None:
    result = start(tmp_path, "--error-log-file", "error.log", app="raise RuntimeError('broken')\n")
    assert result.returncode == 1
    assert "broken" in result.stderr


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("%(hh)s", "there is no atom %(hh)s; the nearest is %(h)s"),
        ("jsno", "did you mean 'json'?"),
    ],
)
def test_an_unknown_atom_is_an_error_of_the_start(tmp_path: Path, value: str, message: str) -> None:
    result = start(tmp_path, "--access-log-format", value)
    assert result.returncode == 2
    assert message in result.stderr


@contextlib.contextmanager
def as_nobody(
    directory: Path, python: str, *options: str, owner: tuple[int, int] = (0, 0)
) -> Iterator[tuple[Site, Path]]:
    """Serve as nobody, with log files in a directory of ``owner``. Yields the server and the directory."""
    opened(directory)
    logs = directory / "logs"
    logs.mkdir(0o755)
    os.chown(logs, *owner)
    files = ("--access-log-file", "logs/access.log", "--error-log-file", "logs/error.log")
    with Site(directory, "--user", "nobody", *files, *options, python=python) as server:
        server.get("/one")
        eventually(lambda: count(logs / "access.log", "/one") == 1)
        yield server, logs


@needs_root
@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_files_are_opened_before_root_is_given_up_and_belong_to_the_user(
    short_path: Path, python: str, options: tuple[str, ...]
) -> None:
    with as_nobody(short_path, python, *options) as (server, logs):
        assert (logs / "access.log").stat().st_uid == (logs / "error.log").stat().st_uid == nobody()[0]
        (logs / "access.log").rename(logs / "old.log")
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: count(logs / "error.log", "access.log is opened again"))  # by root, which creates it
        assert (logs / "access.log").stat().st_uid == nobody()[0]

        def arrives() -> bool:
            server.get("/two")
            return count(logs / "access.log", "/two") > 0

        eventually(arrives)


@needs_root
def test_a_file_that_the_user_may_not_open_again_is_named_and_the_old_one_goes_on(
    short_path: Path, python: str
) -> None:
    with as_nobody(short_path, python) as (server, logs):
        (logs / "access.log").rename(logs / "old.log")
        logs.chmod(0o700)
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: count(logs / "error.log", "access.log cannot be opened again, so lines go on into the file"))
        server.get("/two")
        eventually(lambda: count(logs / "old.log", "/two") == 1)


def test_the_handler_of_an_application_for_sigusr1_is_called_as_well(tmp_path: Path) -> None:
    own = "signal.signal(signal.SIGUSR1, lambda *_: print('own', file=sys.stderr))"
    app = f"import signal, sys\n{own}\n{APP}"
    log = tmp_path / "access.log"
    with Site(tmp_path, "--access-log-file", "access.log", app=app) as server:
        eventually(log.exists)
        log.unlink()
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: log.exists() and server.has("own"))


def test_a_daemon_has_its_error_log_file(tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    result = start(tmp_path, "--daemon", "--pid-file", "pid", "--error-log-file", "error.log")
    assert result.returncode == 0, result.stderr
    pid = int((tmp_path / "pid").read_text().split()[0])
    try:
        os.kill(pid, signal.SIGUSR1)
        eventually(lambda: count(log, "SIGUSR1: ") == 1)
    finally:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: count(log, "reserve: the server has stopped") == 1)
    eventually(lambda: not (tmp_path / "pid").exists())


def test_a_program_opens_its_log_files_again(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"x"]

    messages: list[str] = []
    hooks = Hooks(error_log=lambda level, text: messages.append(text))
    with running(app, http=HTTPSettings(access_log_file=str(log)), hooks=hooks) as served:
        log.rename(tmp_path / "old.log")
        served.server.reopen_logs()
        served.exchange(b"GET /new HTTP/1.0\r\n\r\n")
        eventually(lambda: count(log, "/new") == 1)
        log.unlink()
        log.mkdir()
        served.server.reopen_logs()
        eventually(lambda: any("cannot be opened again" in text for text in messages))


@needs_root
def test_files_in_a_directory_of_the_user_are_opened_again(short_path: Path, python: str) -> None:
    with as_nobody(short_path, python, owner=nobody()) as (server, logs):
        assert (logs / "access.log").stat().st_uid == nobody()[0]
        (logs / "access.log").rename(logs / "old.log")
        server.process.send_signal(signal.SIGUSR1)

        def arrives() -> bool:
            server.get("/two")
            return count(logs / "access.log", "/two") > 0

        eventually(arrives)
        assert (logs / "access.log").stat().st_uid == nobody()[0]
