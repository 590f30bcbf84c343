"""CherryPy programs whose server is reserve's: ``cherrypy.quickstart``, and every way in which they end or restart."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.processes import clean_environ
from tests.real.test_frameworks import multipart, require_framework
from tests.tls import client_context, issued
from tests.waiting import PATIENCE

_RUNS = "The main loop runs"
PROGRAM = Path(__file__).parent / "sites" / "cherrypy_program.py"


class Program:
    """The program as a process of its own, which the test that makes it ends.

    :param path: its source.
    :param arguments: in addition to its port.
    """

    def __init__(self, path: Path, *arguments: str, tls: bool = False) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._tls = tls
        self.log: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, path, str(self.port), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=path.parent,
            env=clean_environ(PYTHONPATH=str(Path(__file__).parents[2])),
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.wait_for(_RUNS)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.log.append(line.rstrip())
                self._changed.notify_all()
        with self._changed:
            self.log.append("(the end)")
            self._changed.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until that many lines of the log have the text."""
        with self._changed:
            seen = self._changed.wait_for(
                lambda: sum(text in line for line in self.log) >= times or "(the end)" in self.log, PATIENCE
            )
        assert seen, self.log
        assert sum(text in line for line in self.log) >= times, self.log

    def client(self) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=client_context())
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def get(self, target: str, **options: Any) -> tuple[int, str]:
        with contextlib.closing(self.client()) as client:
            client.request(options.pop("method", "GET"), target, **options)
            response = client.getresponse()
            return response.status, response.read().decode()

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the program does not end: {self.log}") from None
        self._reader.join(PATIENCE)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def program(*arguments: str, path: Path = PROGRAM, tls: bool = False) -> Iterator[Program]:
    require_framework("cherrypy")
    running = Program(path, *arguments, tls=tls)
    try:
        yield running
    finally:
        running.close()


def test_the_pages_of_a_program() -> None:
    with program("server.thread_pool=3") as served:
        assert served.get("/?name=Ann") == (200, f"hello, Ann, from {served.process.pid}")
        assert served.get("/a/b%2Fc%20d") == (200, "('a', 'b/c d')")  # the encoded slash ends no segment
        assert served.get("/users/Ann") == (200, "user Ann")
        assert served.get("/users/Ann", method="DELETE")[0] == 405
        text = served.get("/software")[1]
        assert re.fullmatch(rf"CherryPy/\S+ reserve/\S+ Server http http://127\.0\.0\.1:{served.port}", text)
        assert served.get("/generated") == (200, "".join(f"{number}\n" for number in range(1000)))
        headers, form = multipart(b"x" * 300_000)
        assert served.get("/upload", method="POST", body=form, headers=headers) == (200, "numbers.bin 300000")
        with contextlib.closing(served.client()) as client:
            client.request("GET", "/count")
            response = client.getresponse()
            cookie = response.headers["Set-Cookie"].partition(";")[0]
            assert response.read() == b"1"
            client.request("GET", "/count", headers={"Cookie": cookie})
            assert client.getresponse().read() == b"2"


def test_the_settings_of_cherrypy_are_obeyed() -> None:
    with program("server.max_request_body_size=1000", "server.max_request_header_size=2000") as served:
        headers, form = multipart(b"x" * 3000)
        assert served.get("/upload", method="POST", body=form, headers=headers)[0] == 413
        assert served.get("/", headers={"X-Long": "x" * 2000})[0] == 431
        assert served.get("/")[0] == 200


@pytest.mark.parametrize("module", ["builtin", "pyopenssl"])
def test_tls_with_the_settings_of_cherrypy(module: str) -> None:
    files = issued()
    arguments = [f"server.ssl_module='{module}'", f"server.ssl_certificate={files.cert}"]
    with program(*arguments, f"server.ssl_private_key={files.key}", tls=True) as served:
        assert served.get("/software")[1].endswith(f" https https://127.0.0.1:{served.port}")
        with pytest.raises((OSError, ssl.SSLError)), socket.create_connection(("127.0.0.1", served.port)) as client:
            client_context("1.3").wrap_socket(client, server_hostname="other.test")


def test_a_page_ends_the_program() -> None:
    with program() as served:
        assert served.get("/bye") == (200, "bye")
        assert served.wait() == 0
        assert any("Bus EXITED" in line for line in served.log)


@pytest.mark.parametrize(
    ("page", "line", "exit_code"),
    [("/interrupt", "<Ctrl-C> hit: shutting down HTTP server", 0), ("/leave", "SystemExit raised: shutting down", 0)],
)
def test_an_interrupt_in_a_page_ends_the_program(page: str, line: str, exit_code: int) -> None:
    with program() as served:
        with pytest.raises(http.client.RemoteDisconnected):
            served.get(page)
        assert served.wait() == exit_code
        assert any(line in logged for logged in served.log), served.log
        assert any("Bus EXITED" in logged for logged in served.log)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_program(number: int) -> None:
    with program() as served:
        assert served.get("/")[0] == 200
        served.process.send_signal(number)
        assert served.wait() == 0
        assert any("Bus EXITED" in line for line in served.log)


def test_a_page_restarts_the_program() -> None:
    with program() as served:
        assert served.get("/restart") == (200, "restarting")
        served.wait_for("Re-spawning")
        served.wait_for(_RUNS, 2)
        assert served.get("/?name=again")[0] == 200
        assert served.get("/bye") == (200, "bye")
        assert served.wait() == 0


def test_the_autoreloader_restarts_the_program_when_its_source_changes(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    shutil.copy(PROGRAM, path)
    with program(path=path) as served:
        assert served.get("/")[1] == f"hello, world, from {served.process.pid}"
        path.write_text(path.read_text().replace("hello, ", "good morning, "))
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 10))
        served.wait_for("Restarting because")
        served.wait_for(_RUNS, 2)
        assert served.get("/")[1] == f"good morning, world, from {served.process.pid}"
        assert served.get("/bye") == (200, "bye")
        assert served.wait() == 0


def test_a_unix_socket_with_the_clients_user(short_path: Path) -> None:
    path = short_path / "s"
    with program(f"server.socket_file={path}") as served, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"GET /bye HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"".join(iter(lambda: client.recv(4096), b"")).endswith(b"bye")
        assert served.wait() == 0


@pytest.mark.parametrize(
    ("tutorial", "target", "status", "text"),
    [
        ("tut01_helloworld", "/", 200, "Hello world!"),
        ("tut02_expose_methods", "/show_msg", 200, "Hello world!"),
        ("tut03_get_and_post", "/greetUser?name=Ann", 200, "Hey Ann, what's up?"),
        ("tut04_complex_site", "/joke/", 200, "In Python, how do you create a string"),
        ("tut05_derived_objects", "/another/", 200, "And this is the amazing second page!"),
        ("tut06_default_method", "/hendrik", 200, "Hendrik Mans"),
        ("tut07_sessions", "/", 200, "1"),
        ("tut08_generators_and_yield", "/", 200, "Generators rule!"),
        ("tut09_files", "/", 200, "Upload a file"),
        ("tut10_http_errors", "/error?code=403", 403, "403"),
        ("tut10_http_errors", "/messageArg", 500, "message"),
    ],
)
def test_the_tutorials_of_cherrypy(tutorial: str, target: str, status: int, text: str) -> None:
    with program(tutorial, path=PROGRAM.with_name("cherrypy_tutorial.py")) as served:
        got, body = served.get(target)
        assert got == status
        assert text in body
        served.process.send_signal(signal.SIGINT)
        assert served.wait() == 0
