"""SCGI and uwsgi on sockets that another program has opened: sdlaunch, and systemd's tool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.apps.cgi.protocols import Protocol, each_protocol
from tests.clients import connect, free_port, until_closed
from tests.real.installing import Installed
from tests.real.serving import SITES, ServerProcess


def ask(protocol: Protocol, address: object) -> bytes:
    with connect(address) as client:
        client.sendall(protocol.request("/x", b"", {"QUERY_STRING": "want=status"}))
        return protocol.read(until_closed(client)[0]).body


@each_protocol
def test_sdlaunch_passes_both_kinds_of_sockets(protocol: Protocol, installed: Installed, short_path: Path) -> None:
    port, path = free_port(), str(short_path / "web")
    command = [installed.sdlaunch, "-b", f"127.0.0.1:{port}", "-b", path, "--", installed.reserve]
    with ServerProcess(*command, "app", protocol.name, "wsgi", "variables") as server:
        assert server.addresses == [f"127.0.0.1:{port}", f"unix:{path}"]
        assert ask(protocol, ("127.0.0.1", port)) == ask(protocol, path) == b"right"


@pytest.mark.peer
@each_protocol
def test_systemd_passes_sockets(
    protocol: Protocol, installed: Installed, require_peer: Callable[[str], str], short_path: Path
) -> None:
    path = str(short_path / "web")
    command = [require_peer("systemd-socket-activate"), "-l", path, installed.reserve]
    arguments = ["app", protocol.name, "wsgi", "variables", "--chdir", str(SITES), "--env", "PYTHONDONTWRITEBYTECODE=1"]
    with ServerProcess(*command, *arguments, wait=False) as server:
        server.wait_for_line("Listening")
        assert ask(protocol, path) == b"right"


@each_protocol
def test_options_without_use_are_refused_by_the_command(protocol: Protocol, installed: Installed) -> None:
    for options, part in (
        (["--expect", "app"], "--expect is for HTTP (reserve app http); with"),
        (["--redirect-http", "127.0.0.1:0"], "redirect"),
    ):
        command = [installed.reserve, "-b", "127.0.0.1:0", "app", protocol.name, "wsgi", "variables", *options]
        with pytest.raises(AssertionError, match="exit code 2"), ServerProcess(*command, wait=False) as server:
            server.wait_for_end()
        assert any(part in line for line in server.stderr), server.stderr
