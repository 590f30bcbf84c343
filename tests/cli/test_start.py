"""What the command starts: a server with its listeners, its settings and its application."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import reserve
from reserve.cli.command import main
from reserve.engine.settings import EngineSettings
from tests.cli.fakes import ARGV, FakeServer


def test_the_command_serves_and_exits_with_0(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "--threads", "4"]) == 0
    (server,) = FakeServer.made
    assert server.settings == EngineSettings(threads=4)
    assert server.own is True
    assert server.handle.__name__ == "handle"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"reserve {reserve.__version__} serves cli_plain ({workdir / 'cli_plain.py'})",
        f"    on 127.0.0.1:{server.addresses[0][1]}",
        "    with 4 threads; Ctrl-C stops it after the requests in flight",
        "reserve: the server has stopped",
    ]


def test_without_bind_the_command_uses_the_default_address_and_the_banner_says_so(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import reserve.sockets.listeners as listeners

    opened: list[str] = []

    def listen(
        *addresses: str, backlog: int, unix_mode: int | None, unix_owner: str | None
    ) -> list[tuple[str, socket.socket]]:
        opened.extend(addresses)
        assert (backlog, unix_mode, unix_owner) == (7, None, None)
        return [(address, socket.create_server(("127.0.0.1", 0))) for address in addresses]

    monkeypatch.setattr(listeners, "listen_by_address", listen)
    assert main(["app", "cli_plain", "--backlog", "7"]) == 0
    assert opened == ["127.0.0.1:8080"]
    assert "(the default; --bind changes it)" in capsys.readouterr().err


def test_the_command_listens_on_several_addresses_with_the_unix_mode(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workdir / "s.sock"
    modes: list[int] = []
    FakeServer.while_serving = staticmethod(lambda server: modes.append(path.stat().st_mode & 0o777))
    assert main(["app", "cli_plain", "-b:0", "-b", f"unix:{path}", "--unix-mode=600", "--threads=1"]) == 0
    assert modes == [0o600]
    assert [len(server.sockets) for server in FakeServer.made] == [2]
    err = capsys.readouterr().err
    assert f"    on unix:{path}\n" in err
    assert "with 1 thread;" in err
    assert not path.exists()


def test_an_application_gets_its_options(workdir: Path) -> None:
    assert main(["app", "cli_configured", "-b", "127.0.0.1:0", "--keep-alive", "3", "--max-head=1k"]) == 0
    values = FakeServer.made[0].handle.values
    assert (values["keep_alive"], values["max_head"], values["access_log"]) == (3.0, 1024, True)
    assert not {"threads", "bind", "env", "config", "log_level"} & set(values)


def test_an_application_gets_the_remaining_arguments(workdir: Path) -> None:
    (workdir / "cli_arguments.py").write_text(
        "def launch(args):\n    handle = lambda s, a, v: None\n    handle.args = args\n    return handle\n"
    )
    argv = ["app", "cli_arguments", "one", "-b", "127.0.0.1:0", "--colour", "--", "-h", "--threads"]
    assert main(argv) == 0
    assert FakeServer.made[0].handle.args == ["reserve cli_arguments", "one", "--colour", "-h", "--threads"]


def test_after_aborted_requests_the_exit_code_is_3(workdir: Path) -> None:
    def while_serving(server: FakeServer) -> None:
        server.aborted = 2

    FakeServer.while_serving = staticmethod(while_serving)
    assert main(ARGV) == 3
