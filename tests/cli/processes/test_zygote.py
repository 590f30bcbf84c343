"""``--preload``: worker processes that a zygote forks, through the command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fakes import ROOT
from tests.real.processes import clean_environ, run
from tests.real.serving import ServerProcess
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="reads the processes of Linux")

APP = """
import json, os, random, resource, signal
VERSION = 1
IMPORTED_BY = os.getpid()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        open(os.environ["GATE"], "rb").read()
    start_response("200 OK", [("Connection", "close")])
    values = {
        "version": VERSION,
        "zygote": IMPORTED_BY,
        "parent": os.getppid(),
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "random": random.getrandbits(64),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "scheme": environ["wsgi.url_scheme"],
    }
    return [json.dumps(values).encode()]
"""
STARTS_THREAD = """
import threading
threading.Thread(target=threading.Event().wait, name="mailer", daemon=DAEMON).start()
"""
REFUSED = (
    r"reserve: --preload: the application has started a thread when it was imported: {}; a process with threads cannot "
    r"be forked safely, so leave --preload out, or start threads in a function for --on-process-start"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(tmp_path)
    os.mkfifo(tmp_path / "gate")
    return tmp_path


def write(directory: Path, version: int = 1, more: str = "") -> None:
    """Write the application. Nothing is cached, because two versions may have one time and one size."""
    (directory / "site_app.py").write_text(APP.replace("VERSION = 1", f"VERSION = {version}") + more)


def command_line(*options: str, processes: int = 2) -> list[str]:
    command = [sys.executable, "-m", "reserve", "--bind", "127.0.0.1:0", "--processes", str(processes), "--preload"]
    return [*command, *options, "--no-access-log", "app", "http", "wsgi", "site_app"]


def environ(directory: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "GATE": str(directory / "gate")}


def serving(directory: Path, *options: str, processes: int = 2, **arguments: Any) -> ServerProcess:
    """The command with the application; its log is checked by the test."""
    command = command_line(*options, processes=processes)
    return ServerProcess(*command, cwd=directory, environ=environ(directory), **{"log": None, **arguments})


def failed_start(directory: Path) -> str:
    """What a start with exit code 1 writes on standard error."""
    command = command_line("--stop-timeout", "1h")
    result = run(command, cwd=directory, env=clean_environ(**environ(directory)), text=True)
    assert result.returncode == 1, result.stderr
    assert "ResourceWarning" not in result.stderr
    return str(result.stderr)


def ask(server: ServerProcess) -> dict[str, Any]:
    """What a worker says of itself."""
    with server.client() as client:
        client.request("GET", "/")
        values: dict[str, Any] = json.loads(client.getresponse().read())
        return values


def children(pid: int) -> set[int]:
    try:
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return set()


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_for_lines(server: ServerProcess, text: str, count: int) -> None:
    eventually(lambda: sum(text in line for line in server.stderr) >= count)


def test_a_zygote_imports_the_application_and_forks_the_workers(directory: Path) -> None:
    with serving(directory, processes=3, log=["reserve: 3 processes serve"]) as server:
        server.wait_for_line("3 processes serve")
        values = ask(server)
        assert children(server.process.pid) == {values["zygote"]}
        assert len(children(values["zygote"])) == 3
        assert values["pid"] in children(values["zygote"])
        assert values["parent"] == values["zygote"]
        assert values["group"] == values["pid"]  # Ctrl-C does not reach it
        assert os.listdir(f"/proc/{values['zygote']}/task") == [str(values["zygote"])]
    assert not is_alive(values["zygote"])
    assert not is_alive(values["pid"])


def test_one_process_is_preloaded_as_well(directory: Path) -> None:
    with serving(directory, processes=1, log=["reserve: 1 process serves"]) as server:
        server.wait_for_line("1 process serves")
        values = ask(server)
        assert values["zygote"] != values["pid"]


def test_each_worker_has_random_numbers_of_its_own(directory: Path) -> None:
    numbers: dict[int, int] = {}

    def have_two() -> bool:
        values = ask(server)
        numbers.setdefault(values["pid"], values["random"])
        return len(numbers) == 2

    with serving(directory) as server:
        server.wait_for_line("2 processes serve")
        eventually(have_two)
    assert len(set(numbers.values())) == 2


def test_the_limit_of_open_files_is_that_of_a_server(directory: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(soft, hard) // 2 + 64
    with serving(directory, "--open-files", str(limit)) as server:
        assert ask(server)["open_files"] == limit


@pytest.mark.parametrize("daemon", [True, False])
def test_an_application_with_a_thread_is_refused(directory: Path, daemon: bool) -> None:
    write(directory, more=STARTS_THREAD.replace("DAEMON", str(daemon)))
    assert REFUSED.format("mailer") + "\n" in failed_start(directory)


def test_a_thread_that_python_does_not_know_is_found(directory: Path) -> None:
    write(directory, more="import _thread, time\n_thread.start_new_thread(time.sleep, (3600,))\n")
    assert re.search(
        r"--preload: the application has started a thread when .*: \S+ \(of a library\)", failed_start(directory)
    )


def test_a_thread_that_has_ended_does_not_matter(directory: Path) -> None:
    write(directory, more="import threading\nt = threading.Thread(target=int)\nt.start()\nt.join()\n")
    with serving(directory) as server:
        server.wait_for_line("2 processes serve")


def test_a_thread_that_a_fork_starts_is_found_before_the_next_fork(directory: Path) -> None:
    more = STARTS_THREAD.replace("import threading\n", "").replace("DAEMON", "True").strip()
    write(directory, more=f"import threading\nos.register_at_fork(after_in_parent=lambda: {more})\n")
    with serving(directory) as server:
        server.wait_for_line(f"reserve: a worker process cannot be forked: {REFUSED[9:].format('mailer')}")
        assert ask(server)["version"] == 1


def test_a_connection_that_the_workers_would_share_is_reported(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as database:
        address = database.getsockname()
        write(
            directory,
            more=f"import socket\nDATABASE = socket.create_connection({address!r})\nPAIR = socket.socketpair()\n",
        )
        with serving(directory) as server:
            line = server.wait_for_line("--preload: the application has opened a connection when it was imported: ")
            assert line.endswith(
                f": 127.0.0.1:{address[1]}; all worker processes share it, and mix up what they send and receive, so "
                "open connections in a function for --on-process-start"
            )
            server.wait_for_line("2 processes serve")


def test_a_hook_starts_threads_in_the_workers(directory: Path) -> None:
    thread = 'threading.Thread(target=threading.Event().wait, name="mailer", daemon=True).start()'
    (directory / "site_hooks.py").write_text(
        f"import os, threading\ndef start():\n    {thread}\n    print('started in', os.getpid(), flush=True)\n"
    )
    with serving(directory, "--on-process-start", "site_hooks:start") as server:
        server.wait_for_line("2 processes serve")
        workers = children(ask(server)["zygote"])
        eventually(lambda: {f"started in {pid}" for pid in workers} <= {line.strip() for line in server.stdout})


def test_what_the_application_raises_ends_the_start(directory: Path) -> None:
    write(directory, more="raise ValueError('no database')\n")
    text = failed_start(directory)
    assert text.count("ValueError: no database\n") == 1


def test_a_reload_imports_the_application_again(directory: Path) -> None:
    with serving(directory) as server:
        server.wait_for_line("2 processes serve")
        old = ask(server)
        write(directory, version=2)
        server.process.send_signal(signal.SIGHUP)
        wait_for_lines(server, "2 processes serve", 2)
        new = ask(server)
        assert new["version"] == 2
        eventually(lambda: children(server.process.pid) == {new["zygote"]})
        assert not is_alive(old["zygote"])


@pytest.mark.parametrize("more", [STARTS_THREAD.replace("DAEMON", "False"), "raise ValueError('no database')\n"])
def test_the_previous_version_serves_on_if_the_new_one_cannot_be_preloaded(directory: Path, more: str) -> None:
    with serving(directory, "--stop-timeout", "1h") as server:
        server.wait_for_line("2 processes serve")
        old = ask(server)
        write(directory, version=2, more=more)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_line("the new version could not start, so the previous one serves on")
        assert ask(server)["zygote"] == old["zygote"]
        eventually(lambda: children(server.process.pid) == {old["zygote"]})
        write(directory, version=3)
        server.process.send_signal(signal.SIGHUP)
        wait_for_lines(server, "2 processes serve", 3)  # at the start, after the failure, and now
        assert ask(server)["version"] == 3


def test_a_worker_that_is_killed_is_forked_again_from_the_same_zygote(directory: Path) -> None:
    with serving(directory) as server:
        server.wait_for_line("2 processes serve")
        killed = ask(server)
        write(directory, version=2)
        os.kill(killed["pid"], signal.SIGKILL)
        server.wait_for_line(f"worker process {killed['pid']} was ended by SIGKILL; another one starts")
        wait_for_lines(server, "2 processes serve", 2)
        workers = children(killed["zygote"])
        assert len(workers) == 2
        assert killed["pid"] not in workers
        assert ask(server)["version"] == 1  # only a reload brings the new one


def test_workers_serve_on_without_their_zygote_until_others_replace_them(directory: Path) -> None:
    with serving(directory) as server:
        server.wait_for_line("2 processes serve")
        old = ask(server)
        workers = children(old["zygote"])
        write(directory, version=2)
        os.kill(old["zygote"], signal.SIGKILL)
        server.wait_for_line(f"zygote process {old['zygote']} was ended by SIGKILL; its workers serve until")
        ask(server)
        wait_for_lines(server, "2 processes serve", 2)
        eventually(lambda: not any(map(is_alive, workers)))
        new = ask(server)
        assert new["version"] == 2
        assert children(server.process.pid) == {new["zygote"]}


def test_the_signals_of_a_service_manager_do_not_end_the_zygote_before_its_workers(directory: Path) -> None:
    with serving(directory) as server:
        server.wait_for_line("2 processes serve")
        zygote = ask(server)["zygote"]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(zygote, number)
        os.kill(ask(server)["pid"], signal.SIGKILL)
        wait_for_lines(server, "2 processes serve", 2)
        assert ask(server)["zygote"] == zygote


def test_the_exit_code_of_a_forked_worker_is_that_of_the_server(directory: Path) -> None:
    with serving(directory, "--stop-timeout", "0s", exit_code=3) as server, server.connect() as client:
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        with open(directory / "gate", "wb"):  # returns when the application has opened it
            server.stop()


def test_everything_ends_when_the_supervisor_is_killed(directory: Path) -> None:
    with serving(directory, exit_code=-signal.SIGKILL) as server:
        server.wait_for_line("2 processes serve")
        values = ask(server)
        processes = [values["zygote"], *children(values["zygote"])]
        server.process.kill()
        eventually(lambda: not any(map(is_alive, processes)))
        server.wait_for_end()


def test_a_new_supervisor_takes_over_zygote_and_workers(directory: Path) -> None:
    with serving(directory) as server:
        server.wait_for_line("2 processes serve")
        old = ask(server)
        write(directory, version=2)
        server.process.send_signal(signal.SIGUSR2)
        wait_for_lines(server, "2 processes serve", 2)
        assert ask(server)["version"] == 2
        eventually(lambda: not is_alive(old["zygote"]))
        assert not is_alive(old["pid"])


def test_forked_workers_serve_tls(directory: Path, certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with serving(directory, "--tls-cert", str(certificates / "a.both")) as server:
        server.wait_for_line("2 processes serve")
        with server.connect_tls(context) as client, client.makefile("rb") as response:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert b'"scheme": "https"' in response.read()
