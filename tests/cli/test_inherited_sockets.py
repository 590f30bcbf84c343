"""The sockets that systemd or sdlaunch passes to the command."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reserve.cli.command import main
from tests.cli.fakes import FakeServer


def test_inherited_sockets_are_served(
    workdir: Path, inherit: Callable[[str], socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    sockets = [inherit("web"), inherit("unknown")]
    assert main(["app", "cli_plain"]) == 0
    assert FakeServer.made[0].sockets == sockets
    err = capsys.readouterr().err
    assert "   (inherited as web)\n" in err
    assert "   (inherited)\n" in err


def test_a_bind_in_addition_to_inherited_sockets_is_an_error(
    workdir: Path, inherit: Callable[[str], socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    fd = inherit("web").fileno()
    try:
        assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 2
    finally:
        os.close(fd)  # a descriptor that is refused stays open
    assert (
        "a socket was passed to this process as well; leave --bind out to serve what was passed, or name it too: "
        f"--bind fd:{fd}" in capsys.readouterr().err
    )
    assert FakeServer.made == []


def test_inherited_sockets_can_be_named_with_bind(workdir: Path, inherit: Callable[[str], socket.socket]) -> None:
    fd = inherit("web").fileno()
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "-b", f"fd:{fd}"]) == 0
    assert [sock.fileno() for sock in FakeServer.made[0].sockets] == [-1, -1]
    assert len(FakeServer.made[0].addresses) == 2


def test_names_of_inherited_sockets_say_whether_they_use_tls(
    tls_workdir: Path, inherit: Callable[[str], socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    plain, redirect, web, other = (inherit(name) for name in ("plain", "redirect", "web", "unknown"))
    assert main(["app", "http", "wsgi", "blog", "--tls-cert", "a.both"]) == 0
    (server,) = FakeServer.made
    assert (server.sockets, server.without_tls) == ([web, other], [plain])
    assert [sockets for sockets, _ in server.extra] == [[redirect]]
    err = capsys.readouterr().err
    assert re.findall(r"on (https?)://\S+   \((.+)\)\n", err) == [
        ("https", "inherited as web"),
        ("https", "inherited"),
        ("http", "without TLS; inherited as plain"),
        ("http", "redirects to https; inherited as redirect"),
    ]


def test_without_a_certificate_the_names_of_inherited_sockets_have_no_effect(
    workdir: Path, inherit: Callable[[str], socket.socket]
) -> None:
    sockets = [inherit("plain"), inherit("redirect")]
    assert main(["app", "cli_plain"]) == 0
    assert (FakeServer.made[0].sockets, FakeServer.made[0].without_tls) == (sockets, [])


def test_an_inherited_socket_can_be_named_with_plain_bind(
    tls_workdir: Path, inherit: Callable[[str], socket.socket]
) -> None:
    fd, web = inherit("web").fileno(), inherit("web")
    assert main(["app", "cli_plain", "--tls-cert", "a.both", "--plain-bind", f"fd:{fd}"]) == 0
    (server,) = FakeServer.made
    assert server.sockets == [web]
    assert len(server.without_tls) == 1


@pytest.mark.parametrize(("pid", "whom"), [("1", "process 1"), (None, "no process (there is no LISTEN_PID)")])
def test_sockets_for_another_process_are_not_replaced_by_the_default_address(
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pid: str | None,
    whom: str,
) -> None:
    def pass_to_another() -> None:
        monkeypatch.setenv("LISTEN_FDS", "1")
        if pid is not None:
            monkeypatch.setenv("LISTEN_PID", pid)

    pass_to_another()
    assert main(["app", "cli_plain"]) == 2
    assert f"LISTEN_FDS=1 passes sockets to {whom}, and this is process {os.getpid()}; " in capsys.readouterr().err
    assert FakeServer.made == []
    pass_to_another()  # the first call has removed the variables
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listener on a descriptor that the command takes for standard input."""
    import reserve.sockets.stdin as module

    with socket.create_server(("127.0.0.1", 0)) as sock:
        monkeypatch.setattr(module, "_STDIN", sock.fileno())
        yield sock


def test_a_listener_that_is_standard_input_is_the_address(
    workdir: Path, stdin: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    name = stdin.getsockname()
    assert main(["app", "cli_plain"]) == 0
    assert FakeServer.made[0].addresses == [name]
    assert f"    on {name[0]}:{name[1]}   (standard input)\n" in capsys.readouterr().err


def test_a_bind_and_inherited_sockets_are_preferred_to_standard_input(
    workdir: Path, stdin: socket.socket, inherit: Callable[[str], socket.socket]
) -> None:
    name = stdin.getsockname()
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0
    web = inherit("web")
    assert main(["app", "cli_plain"]) == 0
    first, second = FakeServer.made
    assert name not in first.addresses
    assert second.sockets == [web]
    assert stdin.getsockname() == name  # it was not taken


def test_standard_input_is_preferred_to_sockets_for_another_process(
    workdir: Path, stdin: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = stdin.getsockname()
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert main(["app", "cli_plain"]) == 0
    assert FakeServer.made[0].addresses == [name]


@pytest.mark.parametrize("binds", [[], ["-b", "127.0.0.1:0"], ["--plain-bind", "127.0.0.1:0"]])
def test_the_exit_of_an_idle_server_is_for_sockets_that_others_keep_open(
    tls_workdir: Path, capsys: pytest.CaptureFixture[str], binds: list[str]
) -> None:
    assert main(["app", "cli_plain", *binds, "--tls-cert", "a.both", "--exit-idle", "5"]) == 2
    assert "--exit-idle is for sockets that systemd has opened" in capsys.readouterr().err
    assert FakeServer.made == []


def test_an_idle_server_with_inherited_sockets_may_exit(workdir: Path, inherit: Callable[[str], socket.socket]) -> None:
    sockets = [inherit("web")]
    assert main(["app", "cli_plain", "--exit-idle", "5"]) == 0
    assert FakeServer.made[0].sockets == sockets
