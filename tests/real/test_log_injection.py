"""What a client sends reaches no log line, terminal, page or metric as anything but text: the installed command.

Every byte in every place of a request; also what SCGI, uwsgi and FastCGI pass on over a UNIX socket without a parser of
HTTP in between.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest

from tests.apps.cgi.protocols import PROTOCOLS, Protocol
from tests.real.installing import Installed
from tests.real.processes import run
from tests.real.serving import ServerProcess
from tests.waiting import PATIENCE, eventually

SITE = """
import logging
logging.basicConfig(filename="logger.log", level="INFO", format="%(message)s")

def application(environ, start_response):
    if environ["PATH_INFO"].startswith("/fail"):
        raise ValueError(environ["PATH_INFO"])
    if environ["PATH_INFO"].startswith("/hold"):
        open("gate", "rb").read()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
FORGED = "2026-11-30 13:00:00,000 ERROR: forged"
EVIL = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b]0;title\x07\x1b[31m\x9b31m\x85\x7f\x00\r"
    f"\n{FORGED}\nreserve: forged\n\"'\\%s{{}}&\xff"
)
PATTERN = (
    '%(h)s "%(u)s" "%(r)s" %(m)s %(U)s %(q)s %(H)s "%(f)s" "%(a)s" %({X-Evil}i)s %({X-Request-ID}i)s %(request_id)s '
    "%(traceparent)s %(frontend)s %({PATH_INFO}e)s"
)
FORMATS = ("common", "combined", "json", PATTERN)
TRUST = ((), ("--trusted-proxies", "127.0.0.1"))
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
FIELDS = (
    "User-Agent: a@b", "Referer: a@b", "X-Evil: a@b", "X-Request-ID: a@b", "traceparent: 00-@", "X-Request-Start: t=@1",
    "X-Forwarded-For: 192.0.2.1@", "Forwarded: for=@", "Host: a@b",
)  # fmt: skip


def requests() -> Iterator[bytes]:
    """Requests with each byte in each place."""
    for number in range(256):
        byte = bytes((number,))
        fields = "\r\n".join(FIELDS[:6]).encode().replace(b"@", byte)
        user = base64.b64encode(b"a" + byte + b"\n" + byte + b":password")
        yield b"GET /a%sb?c%s HTTP/1.1\r\nHost: a\r\n\r\n" % (byte, byte)
        yield b"G%sT / HTTP/1.1\r\nHost: a\r\n\r\n" % byte
        yield b"GET /%%%02x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic %s\r\n\r\n" % (number, user)
        yield b"GET / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % fields
    for field in FIELDS:
        for evil in (EVIL.encode("latin-1"), EVIL.encode(), "\u2028\u202e\U0001f600".encode(), b"\xff\xfe\x80"):
            yield b"GET / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % field.encode().replace(b"@", evil)


def send_all(server: ServerProcess) -> int:
    """Send each request on a connection of its own, until it is responded to; return how many there were."""
    count = 0
    for request in requests():
        with server.connect() as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        count += 1
    return count


class Site:
    def __init__(self, directory: Path, installed: Installed) -> None:
        self.directory, self._reserve = directory, installed.reserve
        (directory / "site_app.py").write_text(SITE)
        os.mkfifo(directory / "gate")

    def serve(self, *options: str, protocol: str = "http", bind: str = "127.0.0.1:0") -> ServerProcess:
        line = ["app", protocol, "wsgi", "site_app", "-b", bind, "--threads", "2", *options]
        return ServerProcess(self._reserve, *line, log=None, cwd=self.directory)

    def ask(self, *words: str) -> str:
        """What a command about the server prints."""
        done = run([self._reserve, *words, "--control", "control"], cwd=self.directory, text=True)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    @contextmanager
    def open_gate(self) -> Iterator[None]:
        """At the end of the block let the requests go on that wait."""
        try:
            yield
        finally:
            os.close(os.open(self.directory / "gate", os.O_RDWR))


@pytest.fixture
def site(short_path: Path, installed: Installed) -> Site:
    return Site(short_path, installed)


def check_lines(lines: list[bytes]) -> None:
    """Each is printable ASCII."""
    for line in lines:
        assert re.fullmatch(rb"[ -~]+", line), line


@pytest.mark.parametrize("trust", TRUST, ids=["untrusted", "trusted"])
@pytest.mark.parametrize("form", FORMATS, ids=["common", "combined", "json", "pattern"])
def test_each_request_is_one_line_of_a_file(form: str, trust: tuple[str, ...], site: Site) -> None:
    with site.serve("--access-log-file", "log", "--access-log-format", form, *trust) as server:
        count = send_all(server)
    data = (site.directory / "log").read_bytes()
    lines = data.split(b"\n")
    assert lines.pop() == b""
    check_lines(lines)
    assert len(lines) == count
    if form == "common":
        assert all(re.fullmatch(rb'[0-9.]+ - - \[[^]]+\] "[^"]*" \d{3} [0-9-]+', line) for line in lines)
    elif form == "combined":
        assert all(re.fullmatch(rb'[0-9.]+ - - \[[^]]+\] "[^"]*" \d+ [0-9-]+ "[^"]*" "[^"]*"', line) for line in lines)
    elif form == "json":
        ids = {json.loads(line)["request_id"] for line in lines} - {None}
        assert all(re.fullmatch(r"[A-Za-z0-9._~+/=:@,;-]{1,128}", text) for text in ids)
        assert any(text.startswith("a") and text.endswith("b") and len(text) == 3 for text in ids) == bool(trust)
    else:
        assert b"password" not in data
    for line in server.log:
        assert not CONTROLS.search(line)


@pytest.mark.peer
def test_jq_reads_each_line(site: Site, require_peer: Callable[[str], str]) -> None:
    jq = require_peer("jq")
    with site.serve("--access-log-file", "log", "--access-log-format", "json") as server:
        count = send_all(server)
    with (site.directory / "log").open("rb") as log:
        done = subprocess.run([jq, "-r", ".status"], stdin=log, capture_output=True, check=True)
    assert done.stderr == b""
    assert len(done.stdout.split()) == count


@pytest.mark.parametrize("destination", ["-", "logger:site", "syslog:/PATH", "syslog:UDP"])
def test_each_request_is_one_line_everywhere_else(destination: str, site: Site) -> None:
    udp = destination == "syslog:UDP"
    with socket.socket(socket.AF_INET if udp else socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(("127.0.0.1", 0) if udp else str(site.directory / "syslog"))
        service.settimeout(PATIENCE)
        to = (
            f"syslog:127.0.0.1:{service.getsockname()[1]}"
            if udp
            else destination.replace("/PATH", f"{site.directory}/syslog")
        )
        received: list[bytes] = []

        def receive() -> None:
            while message := service.recv(65536):
                received.append(message)

        reader = threading.Thread(target=receive)
        reader.start()
        try:
            with site.serve("--access-log-file", to, "--access-log-format", PATTERN) as server:
                count = send_all(server)
        finally:
            with socket.socket(service.family, socket.SOCK_DGRAM) as last:
                last.sendto(b"", service.getsockname())
            reader.join()
    if destination == "-":
        received = [line.encode().removesuffix(b"\n") for line in server.stdout]
    elif destination == "logger:site":
        received = (site.directory / "logger.log").read_bytes().splitlines()
    else:
        assert all(message.startswith(b"<30>") for message in received)
    check_lines(received)
    assert len(received) == count or (udp and 0 < len(received) <= count)


def check_shown(text: str) -> None:
    """It commands no terminal, and has no line of the client's own."""
    assert not CONTROLS.search(text.replace("\n", "")), text
    assert not re.search(r"(?m)^(2026-11-30 13:00:00,000 ERROR|reserve): forged", text), text


def check_page(text: str) -> None:
    assert "<script>alert" not in text
    assert "<img" not in text
    assert not CONTROLS.search(text.replace("\n", ""))


def fetch(server: ServerProcess, target: str) -> str:
    with server.connect() as client, client.makefile("rb") as response:
        client.sendall(f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return response.read().decode().partition("\r\n\r\n")[2]


def test_what_is_shown_of_a_request_that_runs(site: Site) -> None:
    """The error log, with a traceback and a slow request; the commands about the server; the page and the metrics."""
    evil = quote_from_bytes(EVIL.encode("latin-1"))
    options = ("--status-path", "/status", "--metrics-path", "/metrics", "--slow-request", "1ms", "--no-access-log")
    with site.serve("--control", "control", *options) as server, site.open_gate(), server.connect() as client:
        fetch(server, f"/fail{evil}")
        client.sendall(f"GET /hold{evil} HTTP/1.1\r\nHost: a\r\nUser-Agent: <script>\r\n\r\n".encode())
        server.wait_for_line("--slow-request")
        for words in (("top", "--once"), ("connections",), ("stacks",), ("status",)):
            shown = site.ask(*words)
            check_shown(shown)
            assert ("/hold" in shown) == (words[0] != "status")
        check_page(fetch(server, "/status"))
        assert "%3Cscript" in fetch(server, "/status")
        assert "forged" not in fetch(server, "/metrics")
        assert fetch(server, f"/{evil}").endswith("ok")
    check_shown("\n".join(server.stderr))
    assert any(line == f"  {FORGED}" for line in server.stderr)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_what_a_web_server_passes_on(protocol: Protocol, site: Site) -> None:
    """Over a UNIX socket, with the options of monitoring."""
    options = ("--control", "control", "--metrics-bind", "127.0.0.1:0", "--slow-request", "1ms", "--server-timing")
    logs = ("--access-log-file", "log", "--access-log-format", "json", "--request-id", "response")
    path, bind = site.directory / "web", f"unix:{site.directory}/web"
    page = () if protocol.name == "fcgi" else ("--status-path", "/status", "--status-allow", "any")

    evil = re.sub("[\0\r\n?]", "", EVIL)
    more = {"HTTP_USER_AGENT": evil, "HTTP_X_REQUEST_ID": "a\tb", "REMOTE_USER": "kim"}

    def ask(target: str, method: str = "GET", **variables: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            client.sendall(protocol.request(target, b"", {**more, **variables}, method))
            raw = b"".join(iter(lambda: client.recv(65536), b""))
            return protocol.decode(raw).decode("utf-8")

    with site.serve(*options, *logs, *page, protocol=protocol.name, bind=bind) as server, site.open_gate():
        response = ask("/plain")
        assert response.endswith("ok"), response
        assert re.search(r"(?i)^x-request-id: [0-9a-f]{12}-\d+\r$", response, re.MULTILINE)
        assert re.search(r"(?i)^server-timing: ", response, re.MULTILINE)
        ask(f"/{evil}")
        ask("/", method=evil)
        ask(f"/fail{quote_from_bytes(EVIL.encode('latin-1'))}")
        held = threading.Thread(target=ask, args=(f"/hold{evil}",))
        held.start()
        server.wait_for_line("--slow-request")
        for words in (("top", "--once"), ("connections",), ("stacks",)):
            check_shown(site.ask(*words))
        if page:
            check_page(ask("/status").partition("\r\n\r\n")[2])
        eventually(lambda: "running" in site.ask("stacks"))
        with site.open_gate():
            pass
        held.join(PATIENCE)
    check_shown("\n".join(server.stderr))
    lines = (site.directory / "log").read_bytes().splitlines()
    check_lines(lines)
    assert len(lines) >= 4
    assert {"/plain"} < {str(json.loads(line)["target"]) for line in lines}
