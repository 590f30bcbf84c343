"""``single_thread = True``: one worker, the main thread, and a line that says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from reserve.cli.command import main
from tests.cli.fakes import ROOT, FakeServer
from tests.waiting import PATIENCE

SOURCE = """
import sqlite3, threading
database = sqlite3.connect(":memory:")
database.execute("create table visits (path)")
class App:
    single_thread = {value}
    def __call__(self, environ, start_response):
        database.execute("insert into visits values (?)", (environ["PATH_INFO"],))
        start_response("200 OK", [])
        yield threading.current_thread().name.encode()
        for (path,) in database.execute("select path from visits"):
            yield path.encode()
app = App()
"""
PLAIN = "def app(environ, start_response):\n    return []\n"
LINE = "    on the main thread, one request at a time: {} says single_thread = True; Ctrl-C stops it after "


def run(*argv: str) -> FakeServer:
    FakeServer.made.clear()
    assert main(["app", *argv, "-b", "127.0.0.1:0"]) == 0
    (server,) = FakeServer.made
    return server


def test_one_worker_serves_it_and_the_banner_says_so(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "cli_single.py").write_text(SOURCE.format(value=True))
    server = run("http", "wsgi", "cli_single:app")
    assert server.settings.thread_range == (1, 1)
    assert server.handle.gateway.calling_thread is not None
    lines = capsys.readouterr().err.splitlines()
    assert lines[2].startswith(LINE.format("cli_single:app"))
    assert not [line for line in lines if "--threads" in line]


@pytest.mark.parametrize("protocol", ["scgi", "fcgi", "uwsgi"])
def test_it_is_the_same_behind_a_web_server(protocol: str, workdir: Path) -> None:
    (workdir / "cli_single.py").write_text(SOURCE.format(value=True))
    server = run(protocol, "wsgi", "cli_single")
    assert server.settings.thread_range == (1, 1)
    assert server.handle.gateway.calling_thread is not None


@pytest.mark.parametrize("value", [False, None, 1, "'yes'"])
def test_other_values_change_nothing(value: object, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "cli_single.py").write_text(SOURCE.format(value=value))
    server = run("http", "wsgi", "cli_single", "--threads", "3")
    assert server.settings.thread_range == (3, 3)
    assert server.handle.gateway.calling_thread is None
    assert "    with 3 threads" in capsys.readouterr().err


def test_one_of_several_applications_is_enough(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "cli_single.py").write_text(SOURCE.format(value=True))
    (workdir / "cli_many.py").write_text(PLAIN)
    server = run("http", "wsgi", "cli_many", "--mount", "/single=cli_single")
    assert server.settings.thread_range == (1, 1)
    assert LINE.format("cli_single") in capsys.readouterr().err


@pytest.mark.parametrize(("threads", "reported"), [("4", True), ("1:4", True), ("1", False)])
def test_a_number_of_threads_that_the_user_gives_has_no_effect_and_a_line_says_why(
    threads: str, reported: bool, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "cli_single.py").write_text(SOURCE.format(value=True))
    assert run("http", "wsgi", "cli_single", "--threads", threads).settings.thread_range == (1, 1)
    line = (
        "reserve: --threads has no effect: cli_single says single_thread = True, so it is served on the main thread, "
        "one request at a time\n"
    )
    assert (line in capsys.readouterr().err) is reported


def test_handlers_of_websocket_are_refused_with_it(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "cli_single.py").write_text(SOURCE.format(value=True))
    (workdir / "cli_socket.py").write_text("def handle(ws):\n    pass\n")
    argv = ["app", "http", "wsgi", "cli_single", "--websocket", "/ws=cli_socket:handle", "-b", "127.0.0.1:0"]
    assert main(argv) == 2
    assert "--websocket cannot be served here: cli_single says single_thread = True" in capsys.readouterr().err


def test_a_connection_of_sqlite_works_in_every_request_and_ctrl_c_stops_the_server(tmp_path: Path) -> None:
    (tmp_path / "single.py").write_text(SOURCE.format(value=True))
    process = subprocess.Popen(
        [sys.executable, "-m", "reserve", "app", "http", "wsgi", "single", "-b", "127.0.0.1:0", "--no-access-log"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(3)]
    url = lines[1].split()[1]
    for expected in (b"MainThread/a", b"MainThread/a/b"):
        with urllib.request.urlopen(url + expected.decode()[-1], timeout=PATIENCE) as response:
            assert response.read() == expected
    process.send_signal(signal.SIGINT)
    assert "reserve: the server has stopped" in process.stderr.read()
    assert process.wait(PATIENCE) == 0
    process.stderr.close()
