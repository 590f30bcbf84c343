"""``reserve systemd-unit``: the directives for the options that are given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reserve.cli.command import main
from reserve.cli.config import systemdunit
from tests.cli.fakes import FakeServer


@pytest.fixture(autouse=True)
def systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemdunit, "_systemd_version", lambda: 252)
    for name in ("PORT", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, list[str]]:
    """The lines of each unit, by its name."""
    assert main(["systemd-unit", *words]) == 0
    parts = capsys.readouterr().out.split("# /etc/systemd/system/")[1:]
    return {part.partition("\n")[0]: part.splitlines()[1:] for part in parts}


def service(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    found = printed(capsys, *words)
    (lines,) = found.values()
    return lines


def value(lines: list[str], directive: str) -> str:
    """The value of a directive that is given once."""
    (found,) = [line.partition("=")[2] for line in lines if line.startswith(f"{directive}=")]
    return found


APP = ("app", "http", "wsgi", "mysite.wsgi:application")


def test_a_service_that_opens_its_addresses(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "--threads", "8", "--no-access-log", *APP, "--max-connections=100", "--", "--x")
    assert list(found) == ["mysite.service"]
    lines = found["mysite.service"]
    command = value(lines, "ExecStart")
    assert command.startswith("/")
    assert command.endswith(
        " --threads 8 --no-access-log --max-connections 100 app http wsgi mysite.wsgi:application -- --x"
    )
    assert value(lines, "WorkingDirectory") == os.getcwd()
    assert value(lines, "Type") == "notify"
    assert value(lines, "ExecReload").endswith("/kill -HUP $MAINPID")
    assert value(lines, "TimeoutStopSec") == "45"
    assert value(lines, "LimitNOFILE") == "4296"
    assert value(lines, "DynamicUser") == "yes"
    assert value(lines, "UMask") == "0077"
    assert value(lines, "CapabilityBoundingSet") == ""
    assert value(lines, "PrivateUsers") == "yes"
    assert value(lines, "StateDirectory") == "mysite"
    assert not any(line.startswith(("AmbientCapabilities", "ReadWritePaths", "Sockets")) for line in lines)
    assert FakeServer.made == []


def test_a_newer_systemd_waits_for_a_reload(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemdunit, "_systemd_version", lambda: 253)
    lines = service(capsys, *APP)
    assert value(lines, "Type") == "notify-reload"
    assert not any(line.startswith("ExecReload") for line in lines)


@pytest.mark.parametrize(
    ("options", "is_privileged"),
    [
        (("-b", ":80"), True),
        (("-b", "127.0.0.1:1023"), True),
        (("-b", ":1024"), False),
        (("-b", ":0"), False),
        (("-b", "unix:/run/mysite/s"), False),
    ],
)
def test_only_a_privileged_port_needs_a_capability(
    workdir: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], is_privileged: bool
) -> None:
    lines = service(capsys, *options, *APP)
    assert value(lines, "CapabilityBoundingSet") == ("CAP_NET_BIND_SERVICE" if is_privileged else "")
    assert ("AmbientCapabilities=CAP_NET_BIND_SERVICE" in lines) == is_privileged
    assert ("PrivateUsers=yes" in lines) != is_privileged


def test_directives_replace_options(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--user", "root:0", "--umask", "027", "--daemon", "--pid-file", "/run/x.pid", "--stop-timeout", "1m")
    options += ("--drain-delay", "10")
    lines = service(capsys, "--name", "shop.service", *options, "--open-files", "5000", *APP)
    assert value(lines, "ExecStart").endswith(" --stop-timeout 1m --drain-delay 10 --open-files 5000 " + " ".join(APP))
    assert value(lines, "User") == "root"
    assert value(lines, "Group") == "0"
    assert value(lines, "UMask") == "0027"
    assert value(lines, "TimeoutStopSec") == "85"
    assert value(lines, "LimitNOFILE") == "5000"
    assert "DynamicUser=yes" not in lines


def test_the_environment_is_kept(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESERVE_SERVER_HEADER", 'my "50%" server')
    monkeypatch.setenv("RESERVE_DAEMON", "1")
    monkeypatch.setenv("PORT", "81")
    lines = service(capsys, *APP)
    assert [line for line in lines if line.startswith("Environment=")] == [
        'Environment="RESERVE_SERVER_HEADER=my \\"50%%\\" server"',
        "Environment=PORT=81",
    ]
    assert "--no-daemon" in value(lines, "ExecStart")
    assert value(lines, "CapabilityBoundingSet") == "CAP_NET_BIND_SERVICE"


def test_special_characters_of_the_command_line_are_kept(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = service(capsys, "--env", "A=x $y %z;\\", "app", "http", "wsgi", "shop:create('a b')")
    assert value(lines, "ExecStart").endswith('--env "A=x $$y %%z;\\\\" app http wsgi "shop:create(\'a b\')"')


def test_what_is_written_is_writable(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "spool").mkdir()
    options = ("-b", "unix:/run/mysite/s", "-b", "unix:sub dir/s", "--spool-dir", "spool", "--unix-owner", ":0")
    lines = service(capsys, *options, *APP)
    assert value(lines, "RuntimeDirectory") == "mysite"
    assert value(lines, "ReadWritePaths") == f'"{workdir}/sub dir" {workdir}/spool'
    assert value(lines, "UMask") == "0022"  # otherwise a frontend could not connect
    assert [line for line in lines if line.startswith("SystemCallFilter=")][-1] == "SystemCallFilter=@chown"
    assert value(service(capsys, *options, "--unix-mode", "660", *APP), "UMask") == "0077"


def test_a_private_key_is_passed_by_systemd(tls_workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tls_workdir / "a.pem").chmod(0o644)
    (tls_workdir / "a.key").chmod(0o600)
    lines = service(capsys, "--tls-cert", "a.pem", "--tls-key", "a.key", *APP)
    assert "--tls-cert a.pem --tls-key %d/tls-key-1 app" in value(lines, "ExecStart")
    assert value(lines, "LoadCredential") == f"tls-key-1:{tls_workdir}/a.key"
    assert lines[0].endswith("after a change: systemctl restart")
    if os.geteuid() == 0:
        lines = service(capsys, "--user", "root", "--tls-cert", "a.pem", "--tls-key", "a.key", *APP)
        assert "--tls-key a.key app" in value(lines, "ExecStart")


def test_sockets_of_systemd(tls_workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("-b", ":443", "-b", "unix:s", "-b", "unix:@abstract", "--unix-mode", "660", "--unix-owner", "root:0")
    options += ("--tls-cert", "a.both", "--redirect-http", "127.0.0.1:80", "--plain-bind", "[::1]:81", "--backlog", "9")
    found = printed(capsys, "--socket", *options, *APP)
    names = ["mysite.socket", "mysite-plain.socket", "mysite-redirect.socket"]
    assert list(found) == ["mysite.service", *names]
    main_lines, plain, redirect = (found[name] for name in names)
    assert [line for line in main_lines if line.startswith("Listen")] == [
        "ListenStream=443",
        f"ListenStream={tls_workdir}/s",
        "ListenStream=@abstract",
    ]
    assert value(main_lines, "SocketMode") == "0660"
    assert value(main_lines, "SocketUser") == "root"
    assert value(main_lines, "SocketGroup") == "0"
    assert value(plain, "ListenStream") == "[::1]:81"
    assert value(plain, "FileDescriptorName") == "plain"
    assert value(redirect, "FileDescriptorName") == "redirect"
    assert value(redirect, "Service") == "mysite.service"
    lines = found["mysite.service"]
    assert value(lines, "Sockets") == value(lines, "Requires") == " ".join(names)
    assert value(lines, "CapabilityBoundingSet") == ""
    command = value(lines, "ExecStart")
    assert not any(option in command for option in ("-b", "--bind", "--unix", "--redirect", "--plain", "--backlog"))


def test_a_folder_of_static_files_below_tmp_can_be_read(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = service(capsys, "--static", "/static=/tmp/assets", "--static", "/media=media", *APP)
    assert "/tmp/assets" in value(lines, "BindReadOnlyPaths").split()
    assert value(lines, "ExecStart").count("--static") == 2


def test_units_are_written_once(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "units").mkdir()
    words = ["systemd-unit", "--into", "units", "--socket", "--name=shop", *APP]
    assert main(words) == 0
    assert sorted(os.listdir("units")) == ["shop.service", "shop.socket"]
    assert capsys.readouterr().out == ""
    assert main(words) == 1
    assert capsys.readouterr().err == (
        f"reserve: {workdir}/units/shop.service exists; remove it, or choose another --name\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-b", "fd:3", *APP], "--bind fd:3 is a descriptor of one process; systemd passes sockets (--socket)"),
        (
            ["--name", "a/b", *APP],
            "--name is 'a/b'; allowed are letters, digits, _, - and . (not - first), as in mysite",
        ),
        (["--name"], "--name needs a value"),
        (["--socket"], "the application's name is missing"),
        (["--sockt", *APP], "there is no server option --sockt"),
        (["--threads", "0", *APP], "--threads is '0'"),
        (["--tls-cert", "none.pem", *APP], "cannot be read: No such file"),
        (["--exit-idle", "60", *APP], "--exit-idle is for sockets that systemd has opened (--socket): nothing starts"),
        (["--socket", "--exit-idle", "60", "--processes", "2", *APP], "--exit-idle is for a server of one process"),
    ],
)
def test_mistakes_are_explained(
    workdir: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["systemd-unit", *words]) in (1, 2)
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_control_socket_has_a_directory(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--control", "/run/mysite/control", "--control-readonly", "/run/mysite/looking")
    assert value(service(capsys, *options, *APP), "RuntimeDirectory") == "mysite"
    (unit, *_) = printed(capsys, "--socket", *options, *APP).values()
    assert value(unit, "RuntimeDirectory") == "mysite"
    lines = service(capsys, "--control", "/tmp/control", *APP)
    assert any("where no other process finds its control socket" in line for line in lines)
    assert any("--control /run/mysite/control" in line for line in lines)


def test_files_of_logs_can_be_written(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = ("--access-log-file", "/var/log/mysite/access.log", "--error-log-file", "/var/log/mysite/error.log")
    lines = service(capsys, *logs, *APP)
    assert value(lines, "LogsDirectory") == "mysite"
    assert not any(line.startswith("ReadWritePaths=") for line in lines)
    lines = service(capsys, "--access-log-file", "/var/log/a/b/c", "--error-log-file", "logs/d", *APP)
    assert value(lines, "LogsDirectory") == "a/b"
    assert value(lines, "ReadWritePaths") == f"{workdir}/logs"
    lines = service(capsys, "--error-log-file", "/var/log/mysite.log", *APP)
    assert value(lines, "ReadWritePaths") == "/var/log"
    assert any("--error-log-file /var/log/mysite/error.log" in line for line in lines)


@pytest.mark.parametrize(
    "options",
    [
        ("--access-log-file", "syslog:", "--error-log-file", "-"),
        ("--access-log-file", "/var/log/a/b", "--no-access-log"),
        ("--error-log-file", "/var/lib/mysite/error.log"),
    ],
)
def test_other_logs_need_no_directory(
    options: tuple[str, ...], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = service(capsys, *options, *APP)
    assert not any(line.startswith(("LogsDirectory=", "ReadWritePaths=")) for line in lines)
