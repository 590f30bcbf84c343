"""Sockets that somebody else opened: systemd's tool, and sdlaunch."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.clients import free_port
from tests.real.conftest import Curl
from tests.real.installing import Installed
from tests.real.serving import PATIENCE, SITES, Served, fetch


def facts_of(host: str, port: int) -> dict[str, str]:
    with closing(http.client.HTTPConnection(host, port, timeout=PATIENCE)) as client:
        return json.loads(fetch(client, "GET", "/facts")[2])  # type: ignore[no-any-return]


@pytest.mark.peer
def test_systemd_passes_three_kinds_at_once(
    installed: Installed, require_peer: Callable[[str], str], curl: Curl, short_path: Path
) -> None:
    activate = require_peer("systemd-socket-activate")
    port = free_port()
    path = short_path / "web"
    abstract = f"reserve-activated-{os.getpid()}-{port}"
    binds = ["-l", f"[::1]:{port}", "-l", str(path), "-l", f"@{abstract}"]
    words = ["app", "http", "wsgi", "everything", "--chdir", str(SITES), "--env", "PYTHONDONTWRITEBYTECODE=1"]
    with Served(activate, *binds, "--fdname=web:file:name", installed.reserve, *words, waits=False) as server:
        # The tool starts the command with the first connection, which waits in the backlog until then.
        server.wait_for_line(lambda line: f"@{abstract}" in line and "Listening" in line)
        assert facts_of("::1", port)["SERVER_NAME"] == "[::1]"  # RFC 3875 section 4.1.14
        assert server.places == [f"http://[::1]:{port}/", f"unix:{path}", f"unix:@{abstract}"]
        assert "(inherited as web)" in "".join(server.banner)
        facts = json.loads(curl("--unix-socket", str(path), "http://somewhere/facts").stdout)
        assert (facts["REMOTE_ADDR"], facts["HTTP_HOST"]) == ("", "somewhere")
        facts = json.loads(curl("--abstract-unix-socket", abstract, "http://elsewhere/facts").stdout)
        assert (facts["REMOTE_ADDR"], facts["HTTP_HOST"]) == ("", "elsewhere")
        environ = Path(f"/proc/{server.process.pid}/environ").read_bytes()
        assert b"LISTEN_FDS=3" in environ  # it was really handed over so, not opened by the command


def test_sdlaunch_opens_every_address_of_both_families(installed: Installed) -> None:
    line = [installed.sdlaunch, "-b", "[::]:0", "--", installed.reserve, "app", "http", "wsgi", "everything"]
    with Served(*line, "--threads", "16") as server:
        port = int(server.url.rpartition(":")[2])
        assert server.places[0] == f"http://[::]:{port}/"
        assert "with 16 threads" in server.banner[-1]
        four, six = facts_of("127.0.0.1", port), facts_of("::1", port)
    assert (four["REMOTE_ADDR"], four["SERVER_NAME"], four["SERVER_PORT"]) == ("127.0.0.1", "127.0.0.1", str(port))
    assert (six["REMOTE_ADDR"], six["SERVER_NAME"], six["SERVER_PORT"]) == ("::1", "[::1]", str(port))


def test_sdlaunch_with_a_port_that_was_named(installed: Installed) -> None:
    port = free_port()
    line = [installed.sdlaunch, "-b", f"[::]:{port}", "--", installed.reserve, "app", "http", "wsgi", "portal"]
    with Served(*line) as server:
        assert server.url == f"http://[::]:{port}"
        for host in ("127.0.0.1", "::1"):
            with closing(http.client.HTTPConnection(host, port, timeout=PATIENCE)) as client:
                assert fetch(client, "GET", "/x")[2] == b"site '' '/x'"
    # Nothing is left of it: the port can be had again at once.
    socket.create_server(("::", port), family=socket.AF_INET6).close()


def test_sdlaunch_passes_a_unix_socket_and_leaves_no_file(installed: Installed, short_path: Path) -> None:
    path = short_path / "web"
    line = [installed.sdlaunch, "-b", str(path), "--unix-mode", "660", "--", installed.reserve]
    with (
        Served(*line, "app", "seed_greeting", "hello") as server,
        closing(socket.socket(socket.AF_UNIX)) as client,
        client.makefile("rb") as lines,
    ):
        assert server.places == [f"unix:{path}"]
        assert path.stat().st_mode & 0o777 == 0o660
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"quit\r\n")
        assert lines.read() == b"hello, \r\ngoodbye\r\n"
