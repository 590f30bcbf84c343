"""Sockets that another program has opened: systemd's tool, and sdlaunch."""

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
from tests.real.serving import SITES, ServerProcess, fetch
from tests.waiting import PATIENCE


def get_facts(host: str, port: int) -> dict[str, str]:
    """The environ of a request to the site ``everything``."""
    with closing(http.client.HTTPConnection(host, port, timeout=PATIENCE)) as client:
        return json.loads(fetch(client, "GET", "/facts")[2])  # type: ignore[no-any-return]


@pytest.mark.peer
def test_systemd_passes_three_kinds_of_sockets_at_once(
    installed: Installed, require_peer: Callable[[str], str], curl: Curl, short_path: Path
) -> None:
    activate = require_peer("systemd-socket-activate")
    port = free_port()
    path = short_path / "web"
    abstract = f"reserve-activated-{os.getpid()}-{port}"
    binds = ["-l", f"[::1]:{port}", "-l", str(path), "-l", f"@{abstract}"]
    arguments = ["app", "http", "wsgi", "everything", "--chdir", str(SITES), "--env", "PYTHONDONTWRITEBYTECODE=1"]
    command = [activate, *binds, "--fdname=web:file:name", installed.reserve, *arguments]
    with ServerProcess(*command, wait=False) as server:
        # systemd-socket-activate starts the command on the first connection, which waits in the backlog until then.
        server.wait_for_line(lambda line: f"@{abstract}" in line and "Listening" in line)
        assert get_facts("::1", port)["SERVER_NAME"] == "[::1]"  # RFC 3875 section 4.1.14
        assert server.addresses == [f"http://[::1]:{port}/", f"unix:{path}", f"unix:@{abstract}"]
        assert "(inherited as web)" in "".join(server.banner)
        facts = json.loads(curl("--unix-socket", str(path), "http://somewhere/facts").stdout)
        assert (facts["REMOTE_ADDR"], facts["HTTP_HOST"]) == ("", "somewhere")
        facts = json.loads(curl("--abstract-unix-socket", abstract, "http://elsewhere/facts").stdout)
        assert (facts["REMOTE_ADDR"], facts["HTTP_HOST"]) == ("", "elsewhere")
        environ = Path(f"/proc/{server.process.pid}/environ").read_bytes()
        assert b"LISTEN_FDS=3" in environ  # the command inherited the sockets and did not open them


def test_sdlaunch_opens_every_address_of_both_families(installed: Installed) -> None:
    command = [installed.sdlaunch, "-b", "[::]:0", "--", installed.reserve, "app", "http", "wsgi", "everything"]
    with ServerProcess(*command, "--threads", "16") as server:
        port = int(server.url.rpartition(":")[2])
        assert server.addresses[0] == f"http://[::]:{port}/"
        assert "with 16 threads" in server.banner[-1]
        ipv4, ipv6 = get_facts("127.0.0.1", port), get_facts("::1", port)
    assert (ipv4["REMOTE_ADDR"], ipv4["SERVER_NAME"], ipv4["SERVER_PORT"]) == ("127.0.0.1", "127.0.0.1", str(port))
    assert (ipv6["REMOTE_ADDR"], ipv6["SERVER_NAME"], ipv6["SERVER_PORT"]) == ("::1", "[::1]", str(port))


def test_sdlaunch_releases_its_port_at_the_end(installed: Installed) -> None:
    port = free_port()
    command = [installed.sdlaunch, "-b", f"[::]:{port}", "--", installed.reserve, "app", "http", "wsgi", "portal"]
    with ServerProcess(*command) as server:
        assert server.url == f"http://[::]:{port}"
        for host in ("127.0.0.1", "::1"):
            with closing(http.client.HTTPConnection(host, port, timeout=PATIENCE)) as client:
                assert fetch(client, "GET", "/x")[2] == b"site '' '/x'"
    # The port can be bound again at once.
    socket.create_server(("::", port), family=socket.AF_INET6).close()


def test_sdlaunch_passes_a_unix_socket_and_leaves_no_file(installed: Installed, short_path: Path) -> None:
    path = short_path / "web"
    command = [installed.sdlaunch, "-b", str(path), "--unix-mode", "660", "--", installed.reserve]
    with (
        ServerProcess(*command, "app", "seed_greeting", "hello") as server,
        closing(socket.socket(socket.AF_UNIX)) as client,
        client.makefile("rb") as lines,
    ):
        assert server.addresses == [f"unix:{path}"]
        assert path.stat().st_mode & 0o777 == 0o660
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"quit\r\n")
        assert lines.read() == b"hello, \r\ngoodbye\r\n"
