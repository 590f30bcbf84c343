"""``reserve check-config``: what it prints, and that it makes the checks of a start."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from reserve.cli.command import main
from reserve.options.table import FILE, OPTIONS
from tests.cli.fakes import FakeServer


@pytest.fixture
def here(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (workdir / "reserve.toml").write_text(
        '[server]\nthreads = "2:8"\nkeep-alive = 0.0123456789\nbind = [\n  "unix:/tmp/x",\n  "fd:3",\n]\n'
        'unix_mode = "660"\naccess-log = false\nmax-head = 20000\n[server.env]\nTOKEN = "hunter2"\n'
    )
    monkeypatch.setenv("RESERVE_BACKLOG", "7")
    return workdir


def test_every_value_has_its_source(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--max-body", "2m", "--env", "OTHER=hunter2"]) == 0
    out = capsys.readouterr().out
    file = f"{here}/reserve.toml"
    lines = [line for line in out.splitlines() if not line.endswith("# default")]
    assert [" ".join(line.split()) for line in lines] == [
        f"# file: {file}",
        "[server]",
        f'bind = ["unix:/tmp/x", "fd:3"] # bind in {file}:4 [server]',
        "backlog = 7 # the environment variable RESERVE_BACKLOG",
        f'unix-mode = "660" # unix_mode in {file}:8 [server]',
        f'threads = "2:8" # threads in {file}:2 [server]',
        f"keep-alive = 0.0123456789 # keep-alive in {file}:3 [server]",
        f"max-head = 20000 # max-head in {file}:10 [server]",
        'max-body = "2m" # --max-body',
        f"access-log = false # access-log in {file}:9 [server]",
        f"# env.TOKEN = ... # env in {file}:11 [server]",
        "# env.OTHER = ... # --env",
    ]
    assert "hunter2" not in out
    for option in OPTIONS:
        is_shown = re.search(rf"^(# )?{option.name} (= |is not set )", out, re.MULTILINE) is not None
        assert is_shown == (FILE in option.sources and option.name != "env"), option.name
    assert FakeServer.made == []


def test_options_without_effect_are_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--access-log-format", "json", "--statsd-tags", "--static-listing"]) == 0
    output = capsys.readouterr()
    assert output.err.splitlines() == [
        "reserve: --access-log-format has no effect without --access-log: no line is written",
        "reserve: --statsd-tags has no effect without --statsd: no metrics are sent",
    ]
    assert tomllib.loads(output.out)["server"]["access-log-format"] == "json"


def test_the_output_is_a_file_with_the_same_values(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config"]) == 0
    first = capsys.readouterr().out
    (here / "reserve.toml").write_text(first)
    assert main(["check-config"]) == 0
    second = capsys.readouterr().out
    assert tomllib.loads(first) == tomllib.loads(second)


def test_the_defaults_are_values_that_a_file_may_have(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check-config"]) == 0
    out = capsys.readouterr().out
    lines = [line.removeprefix("# ") for line in out.splitlines() if " = " in line]
    lines = [line for line in lines if not line.startswith(("tls-", "handshake", "trusted", "redirect"))]
    (workdir / "reserve.toml").write_text("\n".join(["[server]", *lines]))
    assert main(["check-config"]) == 0


def test_port_is_the_address_when_nothing_else_is(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(*argv: str) -> str:
        assert main(["check-config", *argv]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if "bind = " in line)

    assert " ".join(bind().split()) == '# bind = ["127.0.0.1:8080"] # default, if no socket is passed to the process'
    monkeypatch.setenv("PORT", "5000")
    assert bind().startswith('bind = ["0.0.0.0:5000"]')
    assert "# the environment variable PORT" in bind()
    assert bind("--bind", ":1").split() == ["bind", "=", '[":1"]', "#", "--bind"]
    monkeypatch.setenv("PORT", "tcp://10.0.0.1:80")
    assert bind("--bind", ":1").split() == ["bind", "=", '[":1"]', "#", "--bind"]
    assert main(["check-config"]) == 2
    assert "the environment variable PORT is 'tcp://10.0.0.1:80'; allowed is a whole" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "argv", "code", "message"),
    [
        ("thread = 4", [], 2, "reserve.toml:2 [server] is not an option; did you mean threads?"),
        ("threads = 0", [], 2, "reserve.toml:2 [server] is 0; allowed is a whole number"),
        ("", ["--threads", "many"], 2, "write: reserve check-config --threads 16"),
        ("tls-check = 5", [], 2, "reserve.toml:2 [server] is for TLS, which needs a certificate"),
        ("tls-cert = 'absent.pem'", [], 1, "the certificate absent.pem (--tls-cert) cannot be read"),
        ("chdir = 'absent'", [], 1, "cannot change to absent"),
        ("proxy-protocol = 'v1'", [], 2, "no frontend is trusted"),
        ("unix-mode = '660'", [], 2, "is for --bind unix:PATH, and there is no such bind"),
        ("", ["--config", "absent.toml"], 1, "absent.toml (named by --config): No such file"),
        ("", ["shop:app"], 2, "the word 'app' is missing; write: reserve check-config app http wsgi shop:app"),
        ("", ["--thread", "4"], 2, "write: reserve check-config --threads 4"),
        (
            "health-path = '/m'\nstatus-path = '/m'",
            ["--metrics-path", "/x"],
            2,
            "reserve.toml:3 [server] and health-path in {here}/reserve.toml:2 [server] are both /m; give each its own",
        ),
        ("live-path = '/m'", ["--ready-path", "/m"], 2, "reserve.toml:2 [server] and --ready-path are both /m"),
        (
            "control = '/a/b'",
            ["--control-readonly", "/a/b"],
            2,
            "reserve.toml:2 [server] and --control-readonly are both /a/b; each needs a file of its own",
        ),
    ],
)
def test_a_mistake_is_found(
    workdir: Path, capsys: pytest.CaptureFixture[str], text: str, argv: list[str], code: int, message: str
) -> None:
    (workdir / "reserve.toml").write_text(f"[server]\n{text}\n")
    assert main(["check-config", *argv]) == code
    captured = capsys.readouterr()
    assert message.replace("{here}", str(workdir)) in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_whole_command_line_can_be_checked(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "app", "http", "wsgi", "shop:app", "--mount", "/x=y", "--threads", "3"]) == 0
    assert "threads = 3" in capsys.readouterr().out


def test_a_file_that_is_not_read_is_named(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "reserve.toml").write_text("[server]\nthreads = 3\n")
    (workdir / "pyproject.toml").write_text("[project]\nname = 'reserve-site'\n")
    assert main(["check-config"]) == 0
    assert "not read" not in capsys.readouterr().out
    (workdir / "pyproject.toml").write_text("[tool.reserve]\nthreads = 4\n")
    assert main(["check-config"]) == 0
    assert f"# not read: {workdir}/pyproject.toml\n" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["chek-config", "config-shema", "migrat x"])
def test_a_misspelt_command_gets_the_right_one(workdir: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert main(line.split()) == 2
    right = {"c": "check-config", "o": "config-schema", "m": "migrate x"}[line[0] if line[1] != "o" else "o"]
    assert capsys.readouterr().err.endswith(f"; write: reserve {right}\n")


@pytest.mark.parametrize("task", ["check-config", "config-schema", "migrate"])
def test_each_command_has_a_help(workdir: Path, capsys: pytest.CaptureFixture[str], task: str) -> None:
    assert main([task, "-h"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: reserve {task}")
    assert main(["--help-all"]) == 0
    assert f"reserve {task}" in capsys.readouterr().out


def test_the_platforms_number_of_processes_is_shown_with_its_source(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert main(["check-config"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "processes = " in line)
    assert line.startswith("processes = 3 ")
    assert line.endswith("# the environment variable WEB_CONCURRENCY")
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    assert main(["check-config"]) == 2
    assert "the environment variable WEB_CONCURRENCY is 'many'; allowed is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--exit-idle", "60", "--bind", ":8000"], "--exit-idle is for sockets that systemd has opened"),
        (["--exit-idle", "60", "--processes", "2"], "--exit-idle is for a server of one process"),
        (["--exit-idle", "60", "--bind", "fd:3"], ""),
        (["--exit-idle", "60"], ""),
    ],
)
def test_a_server_that_ends_when_idle_has_sockets_of_systemd_and_no_supervisor(
    workdir: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["check-config", *words]) == (2 if message else 0)
    assert message in capsys.readouterr().err
