"""What the two signals do to a busy server. The application waits for a FIFO until the test opens and closes it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import reserve
from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.serving import PATIENCE, STOPPING, clean_environ, fetch


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def ask_and_wait(client: http.client.HTTPConnection, gate: Path) -> int:
    """Send a request. Returns, once the application waits, the descriptor that lets it continue."""
    client.request("GET", "/wait")
    return os.open(gate, os.O_WRONLY)  # blocks until the application has opened the other end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_the_first_signal_requests_in_flight_finish(serve: Serve, gate: Path, number: signal.Signals) -> None:
    with (
        serve("app", "http", "wsgi", "gate", "--", str(gate)) as server,
        server.client() as busy,
        server.client() as idle,
        server.connect() as silent,
    ):
        assert fetch(idle, "GET", "/")[2] == b"at once"
        writer = ask_and_wait(busy, gate)
        server.process.send_signal(number)
        server.wait_for_line(STOPPING)
        assert idle.sock is not None
        assert idle.sock.recv(1) == b""
        assert silent.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert server.process.poll() is None
        os.write(writer, b"finished in spite of it")
        os.close(writer)
        response = busy.getresponse()
        assert (response.status, response.headers["Connection"], response.read()) == (
            200,
            "close",
            b"finished in spite of it",
        )
        server.wait_for_end()
    assert [line.split('"')[1] for line in server.stdout] == ["GET / HTTP/1.1", "GET /wait HTTP/1.1"]


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
def test_the_second_signal_aborts_requests_in_flight(
    serve: Serve, gate: Path, numbers: tuple[signal.Signals, signal.Signals]
) -> None:
    line = ["app", "http", "wsgi", "gate", "--", str(gate)]
    with serve(*line, log=None, exit_code=3) as server, server.client() as busy:
        writer = ask_and_wait(busy, gate)
        try:
            server.process.send_signal(numbers[0])
            server.wait_for_line(STOPPING)
            server.process.send_signal(numbers[1])
            server.wait_for_line("reserve: stopping at once")
            server.wait_for_end()
            with pytest.raises((http.client.HTTPException, ConnectionError)):
                busy.getresponse()
        finally:
            os.close(writer)
    text = "\n".join(server.log)
    assert re.search(r"is still busy with GET /wait from 127\.0\.0\.1:\d+ at the end of the stop", text)
    assert "gate.py" in text  # the stack shows where it waits


def test_a_shutdown_takes_no_longer_than_the_stop_timeout(serve: Serve, gate: Path) -> None:
    line = ["app", "http", "wsgi", "gate", "--stop-timeout", "0.1", "--", str(gate)]
    with serve(*line, log=None, exit_code=3) as server, server.client() as busy:
        writer = ask_and_wait(busy, gate)
        try:
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_line("reserve: stopping; requests in flight have 0.1 s, a second signal stops at once")
            server.wait_for_end()
        finally:
            os.close(writer)
    assert re.search(r"is still busy with GET /wait from \S+ at the end of the stop", "\n".join(server.log))


def test_the_event_stream_of_the_guide_ends_in_order_at_the_stop(serve: Serve, tmp_path: Path) -> None:
    page = (Path(reserve.__file__).parent / "docs" / "adversity.md").read_text("utf-8")
    section = page.partition("\n## Streams without an end\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "events.py").write_text(example)
    # The stop timeout is longer than the patience of the test: only the application can end the stream.
    assert PATIENCE < 3600
    line = ["app", "http", "wsgi", "events", "--stop-timeout", "3600"]
    with serve(*line, cwd=tmp_path, log=None) as server, server.connect() as client, client.makefile("rb") as stream:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        first = b"retry: 1000\n\n"
        head = list(iter(stream.readline, b"\r\n"))
        assert head[0] == b"HTTP/1.1 200 OK\r\n"
        assert b"Transfer-Encoding: chunked\r\n" in head
        assert stream.read(len(first) + 5) == b"d\r\n" + first + b"\r\n"
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_line("reserve: stopping; requests in flight have 3600 s")
        last = b"event: end\ndata: the server is stopping\n\n"
        assert stream.read() == b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last)
        server.wait_for_end()  # with exit code 0
        assert not any("busy" in entry for entry in server.log)


def test_a_half_sent_request_delays_the_shutdown_by_its_timeout_at_most(serve: Serve) -> None:
    says = [r".* WARNING: 127\.0\.0\.1:\d+: 408 the head of the request came too slowly \(--head-timeout\)"]
    with (
        serve("app", "http", "wsgi", "everything", "--head-timeout", "0.3", log=says) as server,
        server.connect() as half,
    ):
        half.sendall(b"GET /facts HTTP/1.1\r\nHo")
        server.stop()
        assert half.recv(100).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_the_shutdown_closes_the_connection_of_a_handler(serve: Serve) -> None:
    with serve("app", "seed_counter") as server, server.connect() as client:
        server.stop()
        assert client.recv(1) == b""


def test_after_the_shutdown_the_unix_socket_is_removed_and_the_port_is_free(serve: Serve, short_path: Path) -> None:
    path = short_path / "web"
    with serve("app", "http", "wsgi", "everything", "-b", f"unix:{path}") as server:
        assert path.is_socket()
        assert server.addresses[1] == f"unix:{path}"
        address = server.address
        client = server.connect()  # the kernel keeps its port in TIME_WAIT, because the server closes first
    with client:
        assert client.recv(1) == b""
    assert not path.exists()
    socket.create_server(address).close()


def test_after_a_signal_during_the_import_no_file_remains(installed: Installed, gate: Path, short_path: Path) -> None:
    (short_path / "slow.py").write_text(f"with open({str(gate)!r}, 'rb') as file:\n    file.read()\n")
    path = short_path / "web"
    command = [installed.reserve, "app", "http", "wsgi", "slow", "-b", f"unix:{path}"]
    # The signal may arrive before "with" owns the file, which is a ResourceWarning that does not concern reserve.
    environ = clean_environ(PYTHONWARNINGS="ignore")
    with subprocess.Popen(command, cwd=short_path, env=environ, stderr=subprocess.PIPE, text=True) as process:
        writer = os.open(gate, os.O_WRONLY)  # blocks until the module is being imported
        assert path.is_socket()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
        os.close(writer)
    assert (process.returncode, err) == (1, "reserve: interrupted before the server started\n")
    assert not path.exists()


def test_a_signal_to_a_child_of_the_application_does_not_stop_the_server(serve: Serve) -> None:
    with serve("app", "http", "wsgi", "forking") as server, server.client() as client:
        for _ in range(3):
            assert fetch(client, "GET", "/")[::2] == (200, b"15")
        assert STOPPING not in server.stderr
