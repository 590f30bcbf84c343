"""The commands about a running server, with a control socket whose results are the test's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reserve.cli.command import main
from reserve.cli.control import main as control_main
from reserve.cli.control.printing import duration, size
from reserve.control.client import ControlError
from reserve.control.commands import Reply
from reserve.control.document import COUNTERS, document, process
from reserve.control.protocol import Refusal, Request
from tests.cli.fakes import ROOT
from tests.control.sockets import control_socket

_FRAME = {"file": __file__, "line": 1, "function": "view"}


class Server:
    """The target of a control socket: has one result for each command."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.results: dict[str, Any] = {}

    def perform(self, request: Request, reply: Reply) -> None:
        self.seen.append((request.command, dict(request.arguments)))
        reply(self.results.get(request.command, {}))


def _stats(**values: Any) -> dict[str, Any]:
    histogram = {"bounds": [0.1, 1.0], "counts": [9, 1, 0], "sum": 1.0}
    requests = {"responses": [["GET", 200, 8], ["GET", 503, 2]], "duration": histogram, "queue": histogram}
    stats: dict[str, Any] = {
        **dict.fromkeys(COUNTERS, 0),
        "requests": requests,
        "software": "reserve 9",
        "uptime": 70.0,
    }
    stats.update(threads=2, busy=1, stuck=1, max_threads=4, rss=5 << 20, unhealthy=[], python="CPython 3")
    stats.update(listeners=[{"address": "127.0.0.1:80", "backlog": 3, "backlog_limit": 100}], **values)
    return stats


@pytest.fixture
def server() -> Server:
    return Server()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code, and what the command printed on both streams."""
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_the_summary_of_one_process(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.results["status"] = document(1.0, [process(_stats(refused=3), pid=7, phase="serving")])
    with control_socket(tmp_path, server) as path:
        code, text = run(capsys, "status", "--control", path)
    assert code == 0
    assert text.splitlines()[:2] == ["reserve 9 on CPython 3: healthy", "process 7, running for 1 min 10 s"]
    for line in (
        "threads      1 of 2 busy, at most 4, 1 STUCK",
        "requests     10 handled: 2xx 8, 5xx 2",
        "duration     median 56 ms, 99 % within 910 ms",
        "refused      3 (3 overload, 0 requests and 0 connections of one client); 0 timed out",
        "listens on   127.0.0.1:80, 3 of 100 in the backlog",
    ):
        assert line in text.splitlines(), text


def test_the_summary_of_several_processes(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [
        process(_stats(), pid=7, phase="serving"),
        process(_stats(), pid=8, phase="serving", slot=1, age=4.0, responding=False),
        process(None, pid=9, phase="starting", slot=2, responding=False),
    ]
    restarts = {"crash": 2, "recycle": 0, "reload": 1, "kill": 0}
    supervisor = {"pid": 1, "wanted": 3, "generation": 2, "uptime": 5.0, "restarts": restarts}
    server.results["status"] = document(1.0, entries, supervisor)
    with control_socket(tmp_path, server) as path:
        _, text = run(capsys, "status", "--control", path)
    lines = text.splitlines()
    assert lines[0].endswith("NOT HEALTHY: process 8 does not respond")
    assert "processes    3 wanted; 1 serving, 1 starting, 1 unresponsive" in lines
    assert "replaced     2 crash, 1 reload" in lines
    assert " ".join(lines[-2].split()) == "8 1 serving NO RESPONSE for 4.0 s 1 1 2 0 5.0 MiB"
    assert lines[-1].split() == ["9", "2", "starting", "no", "response", "1"]


def test_json_is_what_the_server_has_sent(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.results["status"] = sent = document(1.0, [process(_stats(), pid=7, phase="serving")])
    with control_socket(tmp_path, server) as path:
        _, text = run(capsys, "status", "--json", "--control", path)
    assert json.loads(text) == sent


def test_stacks_for_people(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thread = {"name": "reserve-worker-1", "native_id": 3, "state": "stuck", "request": "GET /", "client": "192.0.2.1:5"}
    frames = [{**_FRAME, "function": "main"}, {"file": "", "line": 0, "function": "... 7 frames ..."}, _FRAME]
    stuck = {**thread, "seconds": 61.2, "frames": frames, "skip": 1}
    idle = {**stuck, "name": "reserve-monitor", "state": "", "request": "", "client": "", "seconds": 0.0, "skip": 0}
    silent = {"pid": 8, "responding": False, "threads": []}
    server.results["stacks"] = {"processes": [{"pid": 7, "responding": True, "threads": [stuck, idle]}, silent]}
    with control_socket(tmp_path, server) as path:
        _, text = run(capsys, "stacks", "--control", path)
        _, everything = run(capsys, "stacks", "--all", "--pid", "7", "--control", path)
    assert text.splitlines() == [
        "process 7",
        "  reserve-worker-1: STUCK GET / from 192.0.2.1:5 for 1 min 1 s",
        "    ... 7 frames ...",
        f'    File "{__file__}", line 1, in view',
        '      """The commands about a running server, with a control socket whose results are the test\'s."""',
        "  1 thread without a request (--all shows them): reserve-monitor",
        "",
        "process 8: no response; it is stopped, starting, or C code holds its GIL: py-spy dump --pid 8",
    ]
    assert "  reserve-monitor: no worker" in everything.splitlines()
    assert server.seen == [("stacks", {}), ("stacks", {"pid": 7})]


def test_connections_for_people(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"client": "192.0.2.1:5", "state": "parked", "waits_for": "head", "seconds_left": 9.5, "request": ""}
    other = {
        **row,
        "state": "owned",
        "waits_for": "",
        "seconds_left": -1.0,
        "request": "GET /",
        "unsent": 0,
        "tls": True,
    }
    rows = [{**row, "unsent": 2048, "tls": False}, other]
    found = {"pid": 7, "responding": True, "total": 5, "connections": rows, "left_out": 3}
    server.results["connections"] = {"processes": [found]}
    with control_socket(tmp_path, server) as path:
        _, text = run(capsys, "connections", "--limit", "2", "--control", path)
    assert text.splitlines() == [
        "process 7: 5 connections",
        "  CLIENT       STATE      WAITS FOR  SECONDS LEFT   UNSENT  REQUEST",
        "  192.0.2.1:5  parked     head                9.5  2.0 KiB",
        "  192.0.2.1:5  owned TLS                                    GET /",
        "  3 more (--limit)",
    ]


@pytest.mark.parametrize(
    ("words", "asked", "printed"),
    [
        (["reload"], ("reload", {}), "the server reloads"),
        (["stop"], ("stop", {}), "the server stops"),
        (["stop", "--now"], ("stop", {"now": True}), "the server stops at once"),
        (["threads", "4:32"], ("threads", {"min": 4, "max": 32}), "4:32 threads from now on"),
        (["threads", "8"], ("threads", {"min": 8, "max": 8}), "8 threads from now on"),
        (["processes", "3"], ("processes", {"count": 3}), "3 processes from now on"),
        (["log-level", "debug"], ("log-level", {"level": "debug"}), "the log has lines from debug on"),
        (["log-reopen"], ("log-reopen", {}), "the log files are opened again"),  # an older server says no more
    ],
)
def test_commands_that_change_the_server(
    words: list[str],
    asked: tuple[str, Any],
    printed: str,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with control_socket(tmp_path, server) as path:
        code, text = run(capsys, *words, "--control", path)
    assert (code, server.seen) == (0, [asked])
    assert text.startswith(printed)


def test_processes_that_have_not_changed_are_named(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.results["threads"] = {"processes": [1], "silent": [2, 3], "errors": {"4": "it has one thread only"}}
    with control_socket(tmp_path, server) as path:
        _, text = run(capsys, "threads", "4", "--control", path)
    assert "not yet in processes 2, 3: no response" in text
    assert "not in process 4: it has one thread only" in text


def test_a_refusal_is_an_error(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.results["processes"] = Refusal("this server has one process", "start it with --processes 4")
    with control_socket(tmp_path, server) as path:
        code, text = run(capsys, "processes", "4", "--control", path)
    assert code == 1
    assert text == "reserve: the server refuses: this server has one process; start it with --processes 4\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["status"], "started with the same option, as in: reserve --control /tmp/reserve.control app http wsgi blog"),
        (["status", "x"], "reserve status does not take 'x'"),
        (["stop", "--nwo"], "its options are --now"),
        (["threads"], "reserve threads needs MIN:MAX"),
        (["threads", "x"], "MIN:MAX or one number"),
        (["threads", "1:2:3"], "MIN:MAX or one number"),
        (["processes", "-3"], "does not take '-3'"),
        (["processes", "many"], "needs a number"),
        (["stacks", "--pid", "x"], "--pid of reserve stacks is a number, not 'x'"),
        (["stacks", "--pid"], "--pid of reserve stacks is a number"),
        (["status", "--threads", "4"], "is for a server that runs, so --threads has no effect"),
        (["status", "--", "x"], "takes nothing after --"),
    ],
)
def test_wrong_words(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESERVE_CONTROL", raising=False)
    control = [] if "started with" in text else ["--control", "none"]
    split = words.index("--") if "--" in words else len(words)
    code, printed = run(capsys, *words[:split], *control, *words[split:])
    assert code == 2
    assert text in printed


def test_where_the_socket_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line, the environment, the file with the options; a mistake in the file does not matter."""
    monkeypatch.chdir(tmp_path)
    with control_socket(tmp_path, server) as path:
        (tmp_path / "reserve.toml").write_text(f'[server]\nchdir = "{tmp_path}"\ncontrol = "control"\n')
        assert run(capsys, "reload")[0] == 0
        (tmp_path / "reserve.toml").write_text("treads = 4\n")
        monkeypatch.setenv("RESERVE_CONTROL", path)
        assert run(capsys, "reload")[0] == 0
        monkeypatch.setenv("RESERVE_CONTROL", "none")
        assert run(capsys, "reload", "--control", path)[0] == 0
        code, text = run(capsys, "reload")
    assert code == 1
    assert "there is no control socket none" in text


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "stacks", "--help")
    assert code == 0
    assert text.startswith("usage: reserve stacks [--pid PID]")


def _reopened(pid: int, **errors: str) -> dict[str, Any]:
    return {"pid": pid, "files": [{"path": f"/{name}", "error": error} for name, error in errors.items()]}


@pytest.mark.parametrize(
    ("processes", "code", "expected"),
    [
        ([_reopened(7, access="", error="")], 0, "/access is opened again\n/error is opened again\n"),
        ([_reopened(7, access=""), _reopened(8, access="")], 0, "/access is opened again\n"),
        ([_reopened(7), _reopened(8)], 1, "there is none (--access-log-file, --error-log-file)\n"),
        (
            [_reopened(7, access=""), _reopened(8, access="Permission denied")],
            1,
            "process 8 cannot open /access again, so its lines go on into the file that was open: Permission denied; "
            "/access is opened again\n",
        ),
    ],
)
def test_what_was_opened_again(
    processes: list[Any], code: int, expected: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.results["log-reopen"] = {"processes": processes}
    with control_socket(tmp_path, server) as path:
        result = run(capsys, "log-reopen", "--control", path)
    assert result[0] == code
    assert result[1].endswith(expected)


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        ("conections", "connections"),
        ("stauts", "status"),
        ("Status", "status"),
        ("stats --json", "status --json"),
        ("--control /x stack", "--control /x stacks"),
        ("stpo", "stop"),
        ("tpo", "top"),
        ("relaod", "reload"),
        ("restart", "reload"),
        ("quit", "stop"),
        ("thread 4:32", "threads 4:32"),
        ("check", "check-config"),
        ("systemd", "systemd-unit"),
        ("hlep", "-h"),
        ("ap http wsgi blog", "app http wsgi blog"),
        ("run blog", "app http wsgi blog"),
        ("check-config ap echo", "check-config app echo"),
    ],
)
def test_a_misspelt_command(words: str, proposed: str, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, *words.split())
    assert code == 2
    assert text.startswith("reserve: there is no command ")
    assert text.endswith(f"; write: reserve {proposed}\n")


@pytest.mark.parametrize("word", ["shop", "blog", "chat", "echo", "log", "stauts"])
def test_words_that_are_no_commands_may_be_applications(
    word: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What resembles a short command only a little, or is the name of an application, is taken for one."""
    (workdir / "stauts.py").touch()
    code, text = run(capsys, word)
    assert code == 2
    assert text.startswith("reserve: the word 'app' is missing; write: ")
    assert text.endswith(f"{word}\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 ms"),
        (0.0042, "4.2 ms"),
        (0.9999, "1.0 s"),
        (59.99, "1 min"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes() -> None:
    assert [size(1 << bits) for bits in (0, 10, 27, 33)] == ["1 B", "1.0 KiB", "128 MiB", "8.0 GiB"]


def test_the_page_has_every_command() -> None:
    from reserve.control.commands import COMMANDS

    page = (Path(ROOT) / "reserve" / "docs" / "control.md").read_text("utf-8")
    for name, command in COMMANDS.items():
        assert f"`{name}`" in page
        for argument in command.arguments:
            assert f"`{argument}`" in page


def test_texts_of_clients_and_applications_cannot_move_the_cursor(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\x9b1A\nroot"
    thread = {"name": evil, "native_id": 1, "state": "running", "request": evil, "client": evil, "seconds": 1.0}
    frames = [{"file": evil, "line": 1, "function": evil}]
    row = {"client": evil, "state": evil, "waits_for": evil, "seconds_left": -1, "request": evil, "unsent": 0}
    server.results["stacks"] = {"processes": [
        {"pid": 7, "responding": True, "note": evil, "threads": [{**thread, "frames": frames, "skip": 0}]},
        {"pid": 8, "responding": False, "error": evil},
    ]}  # fmt: skip
    server.results["connections"] = {
        "processes": [{"pid": 7, "responding": True, "total": 1, "connections": [{**row, "tls": False}]}]
    }
    stats = _stats(software=evil, python=evil, unhealthy=[evil])
    server.results["status"] = document(1.0, [process(stats, pid=7, phase="serving")])
    with control_socket(tmp_path, server) as path:
        for command in ("status", "stacks", "connections"):
            code, text = run(capsys, command, "--control", path)
            assert code == 0
            assert r"\x1b[2J\x9b1A\x0aroot" in text
            assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("command", ["status", "stacks", "connections"])
@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        {"version": 9},
        {"processes": [{"pid": 1}]},
        {"processes": [{"pid": 1, "responding": True, "threads": [{}], "connections": [{}], "phase": "serving"}]},
    ],
)
def test_a_result_of_another_version_is_an_error_of_one_line(
    command: str, result: object, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.results[command] = result
    with control_socket(tmp_path, server) as path:
        code, text = run(capsys, command, "--control", path)
        assert (code, len(text.splitlines()) <= 2) == (1, True)
        assert f"the server has sent nothing that this version of reserve {command} can read" in text
        assert run(capsys, command, "--json", "--control", path) == (0, json.dumps(result, indent=2) + "\n")


def test_a_phase_of_another_version_is_shown(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    processes = [process(_stats(), pid=1, phase="hibernating")]
    server.results["status"] = document(1.0, processes, supervisor={"pid": 7, "wanted": 1, "generation": 1,
                                                                    "uptime": 5.0, "restarts": {}})  # fmt: skip
    with control_socket(tmp_path, server) as path:
        code, text = run(capsys, "status", "--control", path)
    assert code == 0
    assert "1 hibernating" in text


def test_a_server_that_does_not_respond_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def call(path: str, command: str, arguments: object) -> None:
        calls.append(command)
        raise ControlError("the server has not responded for 10 s", timed_out=True)

    monkeypatch.setattr(control_main, "_call", call)
    code, text = run(capsys, "status", "--control", str(tmp_path / "control"))
    assert (code, calls) == (1, ["status"])
    assert "has not responded" in text
