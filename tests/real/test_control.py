"""The control socket of the installed command, and the commands that use it, with one process and with several."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from reserve.control.client import ControlClient, ControlError
from reserve.control.totals import Totals, totals
from tests.real.installing import Installed
from tests.real.processes import run
from tests.real.serving import ServerProcess, clean_environ
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

APP = """
import os, time
if os.path.exists("hangs"):
    open("hangs", "rb").read()
def sleep_on():
    time.sleep(3600)
def application(environ, start_response):
    if environ["PATH_INFO"] == "/stuck":
        sleep_on()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
ONE, TWO = ("--processes", "1"), ("--processes", "2")
KINDS = {"one": ONE, "two": TWO, "preload": (*TWO, "--preload")}
PROCESSES = {"one": 1, "two": 2, "preload": 2}


class Site:
    """A directory with an application, and the installed command for its server."""

    def __init__(self, directory: Path, installed: Installed) -> None:
        self.directory, self._reserve = directory, installed.reserve
        (directory / "stuck.py").write_text(APP)
        self.socket = str(directory / "control")

    def serve(self, *options: str, **arguments: Any) -> ServerProcess:
        """The server with two threads in each process."""
        line = ["app", "http", "wsgi", "stuck", "-b", "127.0.0.1:0", "--threads", "2", "--no-access-log"]
        line += ["--control", "control", *options]
        return ServerProcess(self._reserve, *line, log=None, cwd=self.directory, **arguments)

    def run(self, *words: str, **variables: str) -> CompletedProcess[str]:
        """Run a command about the server to its end."""
        environ = clean_environ(**variables)
        result: CompletedProcess[str] = run([self._reserve, *words], cwd=self.directory, env=environ, text=True)
        return result

    def says(self, *words: str) -> str:
        """What a command prints, which has to succeed."""
        result = self.run(*words, "--control", self.socket)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def totals(self) -> Totals:
        return totals(json.loads(self.says("status", "--json")))

    def call(self, command: str, **arguments: Any) -> Any:
        """The same without a process for it, for tests that poll."""
        while True:
            try:
                with ControlClient(self.socket, timeout=PATIENCE) as client:
                    return client.call(command, **arguments)
            except ControlError as error:
                if "has ended" not in str(error):  # the program was executed again at that moment
                    raise

    def wait_for(self, is_reached: Callable[[Totals], object]) -> None:
        eventually(lambda: is_reached(totals(self.call("status"))))


@pytest.fixture
def site(short_path: Path, installed: Installed) -> Site:
    return Site(short_path, installed)


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    """Open clients, which are closed after the test."""
    with ExitStack() as stack:
        yield stack


def make_stuck(site: Site, server: ServerProcess, clients: ExitStack, threads: int) -> None:
    """Send requests until every thread of every process is stuck in one."""
    sent = 0
    while totals(site.call("status")).busy < threads:
        sent += 1
        client = clients.enter_context(socket.create_connection(server.address, PATIENCE))
        client.sendall(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        site.wait_for(lambda total, sent=sent: total.busy + total.waiting_requests == sent)  # type: ignore[misc]


@pytest.mark.parametrize("kind", list(KINDS))
def test_one_command_finds_the_stack_of_stuck_threads(kind: str, site: Site, clients: ExitStack) -> None:
    """While every worker of every process is stuck."""
    processes = PROCESSES[kind]
    with site.serve(*KINDS[kind], exit_code=3) as server:
        site.wait_for(lambda total: total.states["serving"] == processes)
        make_stuck(site, server, clients, 2 * processes)
        text = site.says("stacks")
        assert text.count("    time.sleep(3600)") == 2 * processes
        assert text.count("in sleep_on") == 2 * processes
        assert text.count(": running GET /stuck from 127.0.0.1:") == 2 * processes
        first = json.loads(site.says("stacks", "--json"))["processes"][0]["threads"][0]
        assert first["request"] == "GET /stuck"
        assert first["frames"][-1]["function"] == "sleep_on"
        assert f"{2 * processes} of {2 * processes} busy" in site.says("status")
        assert "GET /stuck" in site.says("connections")
        site.says("threads", "2:64")
        with socket.create_connection(server.address, PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")  # by a thread that was added
        site.says("stop", "--now")
        server.wait_for_end()
    assert not os.path.exists(site.socket)


@pytest.mark.parametrize("options", [ONE, TWO])
def test_an_import_that_hangs_is_found(options: tuple[str, ...], site: Site) -> None:
    os.mkfifo(site.directory / "hangs")
    with site.serve(*options, wait=False, exit_code=1) as server:
        eventually(lambda: os.path.exists(site.socket))
        eventually(lambda: 'open("hangs", "rb").read()' in site.says("stacks", "--all"))
        assert site.totals().states["starting"] == 1
        site.says("stop")
        server.process.wait(PATIENCE)
        server.process.returncode = 1 if server.process.returncode else 0
        server.stop = lambda: None  # type: ignore[method-assign]
    assert not os.path.exists(site.socket)


def test_a_process_that_is_stopped_is_told_as_not_responding(site: Site) -> None:
    with site.serve(*TWO) as server:
        site.wait_for(lambda total: total.states["serving"] == 2)
        first, second = (one["pid"] for one in site.call("status")["processes"])
        os.kill(second, signal.SIGSTOP)
        try:
            site.wait_for(lambda total: total.states["unresponsive"] == 1)
            found = site.call("status")
            assert [one["responding"] for one in found["processes"]] == [True, False]
            assert found["processes"][1]["stats"]["pid"] == second
            text = site.says("status")
            assert f"NOT HEALTHY: process {second} does not respond" in text
            assert f"process {second}: no response" in site.says("stacks")
            assert f"process {first}" in site.says("stacks", "--pid", str(first))
        finally:
            os.kill(second, signal.SIGCONT)
        site.wait_for(lambda total: total.states["serving"] == 2)
        assert server.process.poll() is None


@pytest.mark.parametrize("options", [ONE, TWO])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_the_socket_stays_through_reloads(options: tuple[str, ...], number: int, site: Site) -> None:
    """Clients find it at every moment, and the counters never decrease."""
    with site.serve(*options) as server:
        site.wait_for(lambda total: total.states["serving"] == int(options[1]))
        inode = os.stat(site.socket).st_ino
        with socket.create_connection(server.address, PATIENCE) as client:
            for _ in range(10):
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.recv(1000).endswith(b"ok")
        site.wait_for(lambda total: total.handled == 10)
        before = {one["pid"] for one in site.call("status")["processes"]}
        handled, ends, failures = [10], threading.Event(), []

        def poll() -> None:
            while not ends.is_set():
                try:
                    handled.append(totals(site.call("status")).handled)
                except ControlError as error:
                    failures.append(error)

        poller = threading.Thread(target=poll)
        poller.start()
        try:
            server.process.send_signal(number)
            eventually(
                lambda: (
                    before.isdisjoint(one["pid"] for one in site.call("status")["processes"])
                    and totals(site.call("status")).states["serving"] == int(options[1])
                )
            )
        finally:
            ends.set()
            poller.join()
        assert failures == []
        assert handled == sorted(handled)
        assert os.stat(site.socket).st_ino == inode
        assert site.call("status")["supervisor"]["pid"] == server.process.pid
    assert not os.path.exists(site.socket)


def test_reload_and_processes_by_command(site: Site) -> None:
    with site.serve(*TWO) as server:
        site.wait_for(lambda total: total.states["serving"] == 2)
        site.says("processes", "3")
        site.wait_for(lambda total: total.states["serving"] == 3)
        site.says("log-level", "debug")
        site.says("reload")
        site.wait_for(lambda total: (total.generation, total.states["serving"], total.wanted) == (2, 2, 2))
        site.wait_for(lambda total: total.restarts["reload"] == 3)
        site.says("stop")
        server.wait_for_end()


@pytest.mark.parametrize("options", [ONE, TWO])
def test_log_files_are_opened_again_by_command(options: tuple[str, ...], site: Site) -> None:
    log = site.directory / "error.log"
    with site.serve(*options, "--error-log-file", "error.log"):
        log.rename(site.directory / "error.log.1")
        assert site.says("log-reopen") == f"{log} is opened again\n"
        assert log.exists()


def test_a_server_with_one_process_is_reloaded_by_command(site: Site) -> None:
    with site.serve(*ONE) as server:
        result = site.run("processes", "2", "--control", site.socket)
        assert result.returncode == 1
        assert "start it with --processes 2" in result.stderr
        result = site.run("log-reopen", "--control", site.socket)
        assert (result.returncode, result.stdout) == (1, "")
        assert "no log file was opened again" in result.stderr
        site.says("reload")
        eventually(lambda: site.call("status")["supervisor"])
        assert server.process.poll() is None
        site.says("processes", "2")
        site.wait_for(lambda total: total.states["serving"] == 2)


def _metrics(client: HTTPConnection) -> int:
    """The requests that the metrics have counted."""
    client.request("GET", "/metrics")
    text = client.getresponse().read().decode()
    return sum(int(found) for found in re.findall(r"^reserve_requests_total\{.*\} (\d+)", text, re.MULTILINE))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_both_processes_of_a_hand_over_are_told(number: int, site: Site, clients: ExitStack) -> None:
    """A server with one process has two while the first one finishes its requests: whichever is asked knows of both."""
    with site.serve(*ONE, "--metrics-path", "/metrics", "--stop-timeout", "1h", exit_code=3) as server:
        first = server.process.pid
        old = clients.enter_context(closing(HTTPConnection(*server.address, PATIENCE)))
        assert _metrics(old) == 0
        make_stuck(site, server, clients, 1)
        server.process.send_signal(number)
        site.wait_for(lambda total: total.states["serving"] == total.states["retiring"] == 1)
        pids = {one["pid"] for one in site.call("status")["processes"]}
        assert first in pids
        assert len(pids) == 2
        assert {one["pid"] for one in json.loads(site.says("stacks", "--json"))["processes"]} == pids
        assert "in sleep_on" in site.says("stacks")
        assert {one["pid"] for one in site.call("connections")["processes"]} == pids
        with closing(HTTPConnection(*server.address, PATIENCE)) as new:
            for _ in range(3):
                new.request("GET", "/")
                assert new.getresponse().read() == b"ok"
            site.wait_for(lambda total: total.requests == 3)
            assert _metrics(old) == 3  # its last response, on a connection that was open
            assert _metrics(new) == 3
        assert "GET /stuck" in site.says("top", "--once")
        site.says("threads", "2:8")
        assert "the previous version has finished" in site.run("processes", "2", "--control", site.socket).stderr
        site.says("stop", "--now")
        server.wait_for_end()


def test_counters_are_exact_over_five_reloads(site: Site) -> None:
    """Of a server that begins with one process. They never fall, and are the number of the requests in the end."""
    numbers, falls, sent = [0], [], 0
    with site.serve(*ONE, "--metrics-path", "/metrics", "--keep-alive", "1") as server:
        for reload in range(1, 6):
            server.process.send_signal(signal.SIGHUP)
            while totals(site.call("status")).restarts["reload"] < reload:
                with closing(HTTPConnection(*server.address, PATIENCE)) as client:
                    client.request("GET", "/")
                    assert client.getresponse().read() == b"ok"
                    sent += 1
                with closing(HTTPConnection(*server.address, PATIENCE)) as client:
                    numbers.append(_metrics(client))
                falls += [numbers[-2:]] if numbers[-1] < numbers[-2] else []
        assert falls == []
        assert totals(site.call("status")).requests == sent


@pytest.mark.parametrize("options", [ONE, TWO])
def test_who_may_use_the_sockets(options: tuple[str, ...], site: Site) -> None:
    looking = str(site.directory / "looking")
    with site.serve(*options, "--control-readonly", "looking", "--umask", "000"):
        assert stat.S_IMODE(os.stat(site.socket).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(looking).st_mode) == 0o660
        assert site.run("status", RESERVE_CONTROL=looking).returncode == 0
        refused = site.run("stop", "--control", looking)
        assert refused.returncode == 1
        assert "this socket is for looking at it (--control-readonly)" in refused.stderr
    assert not os.path.exists(looking)


@pytest.mark.parametrize("options", [ONE, TWO])
def test_the_socket_of_a_living_server_is_not_taken(options: tuple[str, ...], site: Site) -> None:
    with site.serve(*options):
        other = site.run("app", "echo", "-b", "127.0.0.1:0", "--control", "control", *options)
        assert other.returncode == 1
        assert "another process listens there" in other.stderr
        assert site.totals().healthy


@pytest.mark.parametrize("options", [ONE, TWO])
def test_the_socket_of_a_killed_server_is_replaced(options: tuple[str, ...], site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(site.socket)
    result = site.run("status", "--control", site.socket)
    assert result.returncode == 1
    assert "no server listens on" in result.stderr
    with site.serve(*options):
        assert site.totals().healthy


def test_a_reload_opens_and_closes_sockets(site: Site) -> None:
    config = site.directory / "reserve.toml"
    config.write_text('[server]\ncontrol-readonly = "first"\nprocesses = 2\n')
    with site.serve():
        assert os.path.exists(site.directory / "first")
        config.write_text('[server]\ncontrol-readonly = "second"\nprocesses = 2\n')
        site.says("reload")
        assert os.path.exists(site.directory / "second")
        assert not os.path.exists(site.directory / "first")
        config.write_text('[server]\ncontrol-readonly = "none/second"\nprocesses = 2\n')
        refused = site.run("reload", "--control", site.socket)
        assert refused.returncode == 1
        assert "mkdir -p none" in refused.stderr
        assert os.path.exists(site.directory / "second")


def test_the_file_with_the_options_names_the_socket_too(site: Site) -> None:
    (site.directory / "reserve.toml").write_text('[server]\ncontrol = "control"\n')
    with site.serve(*ONE):
        assert "healthy" in site.run("status").stdout


def test_a_program_that_runs_the_command_has_a_control_socket(site: Site, installed: Installed) -> None:
    code = "import sys; from reserve.cli.command import main; sys.exit(main())"
    line = ["app", "http", "wsgi", "stuck", "-b", "127.0.0.1:0", "--control", "control", "--no-access-log"]
    with ServerProcess(installed.python, "-c", code, *line, log=None, cwd=site.directory) as server:
        assert site.totals().healthy
        site.says("stop")
        server.wait_for_end()
