"""The program ``reserve`` whose application closes descriptors of the server: it ends with one line, or goes on."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.test_program import STOPPED, command, get, read_until
from tests.waiting import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals")

APP = """
import gc, os, select, socket
from reserve.cli.signals import StopSignals
from reserve.engine.server import Server

def find(kind):
    return next(one for one in gc.get_objects() if type(one) is kind)

def close(path, query):
    if path == "/range":
        os.closerange(3, int(query))
    if path == "/pipe":
        pipe = find(StopSignals)._pipe
        for end in query:
            os.close(pipe[int(end)])
        # Connections of clients get the lowest numbers that are free.
        find(StopSignals).of_clients = [socket.socketpair() for _ in range(20)]
    if path == "/listener":
        os.close(find(Server)._endpoints.listeners[int(query)].fileno())
    if path == "/poller":
        os.close(find(Server)._runtime.poller._epoll.fileno())
    if path == "/received":
        pairs = find(StopSignals).of_clients
        return b"".join(two.recv(100) for one, two in pairs if select.select([two], [], [], 0)[0]) or b"ok"
    return b"ok"

def application(environ, start_response):
    body = close(environ["PATH_INFO"], environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "site_app.py").write_text(APP)
    return tmp_path


def visit(port: int, path: str) -> None:
    """Send a request; its connection may be closed before the response."""
    with suppress(OSError):
        get(port, path)


def messages(err: str) -> list[str]:
    return [line for line in err.splitlines() if re.search("ERROR|WARNING|Traceback|Exception", line)]


@pytest.mark.parametrize("path", ["/range?4096", "/range?70000", "/poller", "/listener?0"])
def test_a_server_that_cannot_go_on_says_so_in_one_line_and_exits_with_4(directory: Path, path: str) -> None:
    with command(directory, "--stop-timeout", "30") as (process, port):
        visit(port, path)
        for _ in range(2):  # when the listener is closed, the next client is the first that it concerns
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE):
                pass
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, err
    assert err.endswith(STOPPED)
    lines = [line for line in messages(err) if "the pipe that tells the server of signals" not in line]
    first = next(line for line in lines if "ERROR" in line)
    assert "the server cannot go on, and stops: another part of this program has closed " in first
    assert ("listening socket" in first) >= (path == "/listener?0")
    assert "os.closerange" in first
    # There may be a line about a descriptor that could be replaced, too.
    assert len(lines) <= 1 + path.startswith("/range"), err


def test_one_closed_listener_of_two_does_not_end_the_server(directory: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    with command(directory, "-b", f"unix:{path}") as (process, port):
        visit(port, "/listener?1")
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        assert "1 more listens" in read_until(process, "ERROR")
        assert get(port).endswith(b"ok")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert not messages(err)


@pytest.mark.parametrize("ends", ["01", "0", "1"])
def test_signals_have_their_effect_when_the_pipe_of_signals_is_closed(directory: Path, ends: str) -> None:
    with command(directory) as (process, port):
        assert get(port, f"/pipe?{ends}").endswith(b"ok")
        if ends == "0":  # its thread waits in the pipe, and gets this one from there
            process.send_signal(signal.SIGUSR1)
            read_until(process, "SIGUSR1: there is no log file to open again")
        assert "signals have their effect nevertheless" in read_until(process, "WARNING")
        process.send_signal(signal.SIGALRM)
        read_until(process, "SIGALRM: this signal has no meaning")
        assert get(port, "/received").endswith(b"\r\n\r\nok")
        process.send_signal(signal.SIGTERM)
        read_until(process, "reserve: stopping; ")
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert not messages(err)


def test_the_exit_code_is_in_the_help() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "reserve", "--help-all"], capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout
    assert "4 the server could not go on" in " ".join(printed.split())
