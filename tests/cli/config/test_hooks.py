"""The options for hooks: how they reach the server, and what the command says about wrong ones."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from reserve.cli.command import main
from reserve.options.schema import file_schema
from reserve.options.table import HOOKS
from tests.cli.fakes import ARGV, FakeServer
from tests.real.serving import ServerProcess
from tests.waiting import eventually

SOURCE = "def one(): pass\ndef end(request): pass\ndef app(environ, start_response): pass\n"


def test_every_option_reaches_the_server(workdir: Path) -> None:
    (workdir / "shop.py").write_text(SOURCE)
    options = [f"{option.flag}=shop:{'end' if 'request' in option.name else 'one'}" for option in HOOKS]
    assert main(["app", "http", "wsgi", "shop:app", "-b", "127.0.0.1:0", *options]) == 0
    hooks = FakeServer.made[0].hooks
    fields = ["on_worker_start", "on_ready", "on_worker_stop", "on_thread_start", "on_thread_stop", "on_request_end"]
    assert [getattr(hooks, name).__name__ for name in fields] == ["one"] * 5 + ["end"]


def test_the_file_and_the_environment_have_them_too(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "shop.py").write_text(SOURCE)
    (workdir / "reserve.toml").write_text('[server]\non-ready = "shop:one"\non_thread_end = "shop:one"\n')
    monkeypatch.setenv("RESERVE_ON_READY", "shop:two")
    assert main([*ARGV, "--on-ready", "shop:one"]) == 0
    assert main(ARGV) == 1
    hooks = FakeServer.made[0].hooks
    assert (hooks.on_ready.__name__, hooks.on_thread_stop.__name__) == ("one", "one")
    assert len(FakeServer.made) == 1
    properties = file_schema()["$defs"]["options"]["properties"]
    assert all(json.dumps(properties[option.name]) for option in HOOKS)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--on-ready", "shop"], 2, "--on-ready is 'shop'; allowed is a function as module:function"),
        (["--on-ready", "shop:one()"], 2, "--on-ready: 'shop:one()' does not name a function"),
        (
            ["--on-ready", "shop:on"],
            1,
            "--on-ready: shop has no 'on'; the callables of shop are: app, end, one; write:",
        ),
        (["--on-request-end", "shop:end"], 2, "--on-request-end is for HTTP applications (reserve app http), not for "),
    ],
)
def test_a_wrong_one_ends_the_start(
    workdir: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, message: str
) -> None:
    (workdir / "shop.py").write_text(SOURCE)
    assert main([*ARGV, *options]) == code
    assert capsys.readouterr().err.startswith(f"reserve: {message}")
    assert FakeServer.made == []


def test_check_config_shows_them_and_imports_nothing(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--on-ready", "absent:ready"]) == 0
    out = capsys.readouterr().out
    assert any(
        line.startswith('on-ready = "absent:ready"') and line.endswith("# --on-ready") for line in out.splitlines()
    )
    assert main(["check-config", "--on-ready", "absent:ready()"]) == 2


def test_hooks_that_fail_do_not_end_the_server(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import sys\n"
        "def fails(*args):\n    sys.exit(5)\n"
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'served']\n"
    )
    names = ["ready", "process-end", "thread-start", "thread-end", "request-end"]
    options = [f"--on-{name}=shop:fails" for name in names]
    command = [sys.executable, "-m", "reserve", "-b", "127.0.0.1:0", "--threads=1", *options]
    root = str(Path(__file__).parents[3])
    with ServerProcess(
        *command, "app", "http", "wsgi", "shop:app", cwd=tmp_path, environ={"PYTHONPATH": root}, log=None
    ) as server:
        with server.client() as client:
            for _ in range(2):
                client.request("GET", "/")
                assert client.getresponse().read() == b"served"
        server.wait_for_line("the hook on_request_end failed")
    text = "\n".join(server.stderr)
    for name in ("on_ready", "on_worker_stop", "on_thread_start", "on_thread_stop", "on_request_end"):
        assert f"the hook {name} failed" in text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes need POSIX")
@pytest.mark.parametrize("more", [[], ["--preload"]])
def test_each_of_several_processes_calls_them(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "shop.py").write_text(
        "import os, sys\n"
        "def says(what):\n"
        "    return lambda: sys.stderr.write(f'{what} {os.getpid()}\\n')\n"
        "start, ready, end = says('start'), says('ready'), says('end')\n"
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'served']\n"
    )
    options = ["--on-process-start=shop:start", "--on-ready=shop:ready", "--on-process-end=shop:end"]
    command = [sys.executable, "-m", "reserve", "-b", "127.0.0.1:0", "--processes=2", *more, *options]
    root = str(Path(__file__).parents[3])
    with ServerProcess(
        *command, "app", "http", "wsgi", "shop:app", cwd=tmp_path, environ={"PYTHONPATH": root}, log=None
    ) as server:
        eventually(lambda: len([line for line in server.stderr if line.startswith("ready ")]) == 2)
    calls = {
        what: [line for line in server.stderr if line.startswith(f"{what} ")] for what in ("start", "ready", "end")
    }
    processes = [{line.split()[1] for line in lines} for lines in calls.values()]
    assert [len(lines) for lines in calls.values()] == [2, 2, 2]
    assert processes[0] == processes[1] == processes[2]
    assert str(server.process.pid) not in processes[0]
